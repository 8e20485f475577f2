"""SpecAugment on utterances of different lengths."""

import pytest
import torch

from whisper_er.config import SpecAugmentConfig
from whisper_er.models.features import spec_augment

FRAMES = [94, 40, 10]
BINS = 20


def random_features():
    torch.manual_seed(0)
    frames_B = torch.tensor(FRAMES)
    inside_BN = torch.arange(max(FRAMES)) < frames_B[:, None]
    return torch.randn(3, BINS, max(FRAMES)) * inside_BN[:, None] + 3.0 * inside_BN[:, None], frames_B


def runs(masked: torch.Tensor) -> list[int]:
    """Lengths of the runs of True."""
    text = "".join("x" if item else " " for item in masked.tolist())
    return [len(run) for run in text.split()]


def test_the_input_is_left_untouched():
    mel_BFN, frames_B = random_features()
    before = mel_BFN.clone()
    changed = spec_augment(mel_BFN, frames_B, SpecAugmentConfig(time_masks=3, time_width=0.5, freq_masks=3))
    assert torch.equal(mel_BFN, before)
    assert not torch.equal(changed, before)


def test_without_masks_nothing_changes():
    mel_BFN, frames_B = random_features()
    assert torch.equal(spec_augment(mel_BFN, frames_B, SpecAugmentConfig()), mel_BFN)


def test_what_is_masked_becomes_the_mean_of_the_utterance_and_the_rest_stays():
    mel_BFN, frames_B = random_features()
    out_BFN = spec_augment(mel_BFN, frames_B, SpecAugmentConfig(time_masks=2, time_width=0.3, freq_masks=2))
    for mel_FN, out_FN, frames in zip(mel_BFN, out_BFN, FRAMES):
        changed = out_FN != mel_FN
        assert changed.any() and not changed.all()
        torch.testing.assert_close(out_FN[changed], mel_FN[:, :frames].mean().expand(int(changed.sum())))
        assert not out_FN[:, frames:].any()


@pytest.mark.parametrize("width", [0.05, 0.1, 0.33])
def test_a_time_mask_spans_all_bins_and_at_most_its_share_of_the_frames(width):
    mel_BFN, frames_B = random_features()
    longest = [0, 0, 0]
    for seed in range(150):
        torch.manual_seed(seed)
        changed_BFN = spec_augment(mel_BFN, frames_B, SpecAugmentConfig(time_masks=1, time_width=width)) != mel_BFN
        assert torch.equal(changed_BFN.any(1), changed_BFN.all(1))
        for b, changed_N in enumerate(changed_BFN.any(1)):
            assert len(runs(changed_N)) <= 1
            longest[b] = max(longest[b], int(changed_N.sum()))
    assert longest == [int(frames * width) for frames in FRAMES]  # and the widest does occur


def test_frequency_masks_span_all_frames_and_are_at_most_as_many_and_as_wide_as_asked_for():
    mel_BFN, frames_B = random_features()
    widest, most = 0, 0
    for seed in range(150):
        torch.manual_seed(seed)
        changed_BFN = spec_augment(mel_BFN, frames_B, SpecAugmentConfig(freq_masks=2, freq_width=4)) != mel_BFN
        for changed_FN, frames in zip(changed_BFN, FRAMES):
            assert torch.equal(changed_FN.any(1), changed_FN[:, :frames].all(1))
            assert len(runs(changed_FN.any(1))) <= 2
            most = max(most, int(changed_FN.any(1).sum()))
            widest = max([widest, *runs(changed_FN.any(1))])
    assert most == 8 and widest <= 8


def test_more_frequency_bins_than_there_are_cannot_be_masked():
    mel_BFN, frames_B = random_features()
    out_BFN = spec_augment(mel_BFN, frames_B, SpecAugmentConfig(freq_masks=1, freq_width=1000))
    assert out_BFN.shape == mel_BFN.shape


def test_utterances_of_a_batch_get_masks_of_their_own():
    mel_BFN = torch.randn(1, BINS, 94).repeat(2, 1, 1)
    config = SpecAugmentConfig(time_masks=2, time_width=0.2, freq_masks=2)
    torch.manual_seed(0)
    first, second = spec_augment(mel_BFN, torch.tensor([94, 94]), config)
    assert not torch.equal(first, second)
