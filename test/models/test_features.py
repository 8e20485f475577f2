"""The log-mel front end against transformers' feature extractor, which fills everything up to 30 s."""

import numpy as np
import pytest
import torch
from tiny_whisper import sound
from transformers import WhisperFeatureExtractor

from whisper_er.base.errors import UserError
from whisper_er.models.features import LogMel, PadRule


def features(waves: list[np.ndarray], bins: int = 80, pad: str = "none"):
    samples_B = torch.tensor([len(wave) for wave in waves])
    wave_BS = torch.zeros(len(waves), int(samples_B.max()))
    for row, wave in zip(wave_BS, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    return LogMel(bins, PadRule.parse(pad))(wave_BS, samples_B)


def expected_features(wave: np.ndarray, bins: int = 80) -> torch.Tensor:
    """(F, 3000)."""
    extractor = WhisperFeatureExtractor(feature_size=bins)
    return extractor(wave, sampling_rate=16000, return_tensors="pt").input_features[0]


def click_at_the_end(num_samples: int) -> np.ndarray:
    wave = 0.001 * sound(num_samples, seed=1)
    wave[-1] = 1.0
    return wave


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("num_samples", [1, 160, 319, 321, 19753, 479_520, 479_840, 480_000])
def test_unpadded_features_are_the_first_frames_of_whispers_padded_ones(bins, num_samples):
    wave = sound(num_samples, seed=0)
    mel_BFN, frames_B = features([wave], bins)
    assert mel_BFN.shape == (1, bins, frames_B[0])
    torch.testing.assert_close(mel_BFN[0], expected_features(wave, bins)[:, : frames_B[0]], atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_samples", [16000, 15900, 15841, 479_900])
def test_a_click_at_the_very_end_counts_towards_the_maximum(num_samples):
    # The frame that sees it best may lie behind the last one that is kept.
    wave = click_at_the_end(num_samples)
    mel_BFN, frames_B = features([wave])
    torch.testing.assert_close(mel_BFN[0], expected_features(wave)[:, : frames_B[0]], atol=1e-4, rtol=0)


def test_utterances_of_different_lengths_keep_their_features_in_a_batch():
    waves = [sound(4321, 0), click_at_the_end(9999), 0.001 * sound(16000, 2), sound(480_000, 3)]
    mel_BFN, frames_B = features(waves)
    for mel_FN, frames, wave in zip(mel_BFN, frames_B, waves):
        torch.testing.assert_close(mel_FN[:, :frames], expected_features(wave)[:, :frames], atol=1e-4, rtol=0)
        assert not mel_FN[:, frames:].any()


def test_silence_is_padding_that_the_maximum_does_not_see():
    wave = sound(8000, 0)
    mel_BFN, frames_B = features([wave], pad="30s")
    assert frames_B.tolist() == [3000]
    torch.testing.assert_close(mel_BFN[0], expected_features(wave), atol=1e-4, rtol=0)


@pytest.mark.parametrize("pad,silence", [("none", 0), ("+0.5", 8000), ("to 1", 16000 - 5000), ("to 0.1", 0)])
def test_a_pad_rule_is_silence_after_the_utterance(pad, silence):
    wave = sound(5000, 0)
    padded = np.concatenate([wave, np.zeros(silence, np.float32)])
    for actual, expected in zip(features([wave], pad=pad), features([padded])):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    "pad,frames",
    [
        ("none", [2, 2, 4, 100, 3000]),
        ("+0.5", [52, 52, 54, 150, 3000]),
        ("to 3", [300, 300, 300, 300, 3000]),
        ("30s", [3000] * 5),
    ],
)
def test_frames_are_even_and_a_function_of_the_utterance_alone(pad, frames):
    num_samples = torch.tensor([1, 320, 321, 16000, 480_000])
    assert PadRule.parse(pad).frames(num_samples).tolist() == frames


@pytest.mark.parametrize("pad", ["", "5", "+", "to", "to 31", "+-1", "+1s", "30", "all"])
def test_an_unknown_pad_rule_is_an_error_that_lists_the_allowed_ones(pad):
    with pytest.raises(UserError, match=r"^pad: .*none, \+<seconds>, to <seconds>"):
        PadRule.parse(pad)
