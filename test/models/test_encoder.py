"""The encoder on inputs of any length against transformers' on 30 s."""

from collections import Counter

import numpy as np
import torch
from tiny_whisper import EMOTION, sound, tiny_model
from transformers import WhisperFeatureExtractor

from whisper_er.models.encoder import encode
from whisper_er.text.tokenizer import Tokenizer


def stacked(waves: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    samples_B = torch.tensor([len(wave) for wave in waves])
    wave_BS = torch.zeros(len(waves), int(samples_B.max()))
    for row, wave in zip(wave_BS, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    return wave_BS, samples_B


@torch.no_grad()
def test_padded_to_30_s_the_encoder_is_that_of_transformers(bpe_tokens):
    audio_encoder = tiny_model(Tokenizer(bpe_tokens, [EMOTION], "bpe", "en"), pad="30s").audio_encoder
    waves = [sound(12345, 0), sound(480_000, 1)]
    states_BTD, mask_BT = audio_encoder(*stacked(waves))
    features = WhisperFeatureExtractor()(waves, sampling_rate=16000, return_tensors="pt").input_features
    assert states_BTD.shape[:2] == (2, 1500) and mask_BT is None
    torch.testing.assert_close(states_BTD, audio_encoder.encoder(features).last_hidden_state, atol=1e-4, rtol=0)


@torch.no_grad()
def test_without_padding_a_state_is_20_ms_and_the_mask_is_the_utterance(bpe_tokens):
    audio_encoder = tiny_model(Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")).audio_encoder
    states_BTD, mask_BT = audio_encoder(*stacked([sound(3200, 0), sound(16000, 1), sound(6401, 2)]))
    assert states_BTD.shape == (3, 50, 16)
    assert mask_BT.tolist() == [[t < length for t in range(50)] for length in (10, 50, 21)]


@torch.no_grad()
def test_the_encoder_sees_nothing_behind_an_utterance(bpe_tokens):
    encoder = tiny_model(Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")).audio_encoder.encoder
    mel_BFN = torch.randn(1, 80, 40)
    alone_BTD, _ = encode(encoder, mel_BFN, torch.tensor([40]))
    longer_BFN = torch.cat([torch.nn.functional.pad(mel_BFN, (0, 60)), torch.randn(1, 80, 100)])
    states_BTD, _ = encode(encoder, longer_BFN, torch.tensor([40, 100]))
    torch.testing.assert_close(states_BTD[:1, :20], alone_BTD, atol=1e-5, rtol=0)


def frames_drawn(audio_encoder, times: int) -> Counter:
    """Frames of the longer one of two utterances, 10 and 25 frames, in so many batches."""
    inputs = stacked([sound(3200, 0), sound(8000, 1)])
    torch.manual_seed(0)
    return Counter(audio_encoder(*inputs)[0].shape[1] for _ in range(times))


@torch.no_grad()
def test_in_training_every_batch_draws_its_padding_by_the_shares_and_else_it_is_pad(bpe_tokens):
    tokenizer = Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")
    audio_encoder = tiny_model(tokenizer, pad="+1", train_pad={"none": 0.7, "to 1": 0.2, "+2": 0.1}).audio_encoder
    assert frames_drawn(audio_encoder, 3) == {75: 3}
    drawn = frames_drawn(audio_encoder.train(), 400)
    assert set(drawn) == {25, 50, 125}
    assert abs(drawn[25] - 280) < 46 and abs(drawn[50] - 80) < 40  # five standard deviations
    assert frames_drawn(audio_encoder, 400) == drawn


@torch.no_grad()
def test_without_shares_training_pads_as_validation_does_and_draws_nothing(bpe_tokens):
    audio_encoder = tiny_model(Tokenizer(bpe_tokens, [EMOTION], "bpe", "en"), pad="+1").audio_encoder.train()
    assert frames_drawn(audio_encoder, 3) == {75: 3}
    state = torch.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_batches_are_padded_as_the_shares_say(bpe_tokens):
    """A batch under a drawn rule is what it is under that rule as `pad`."""
    tokenizer = Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")
    inputs = stacked([sound(3200, 0), sound(8000, 1)])
    drawn = tiny_model(tokenizer, train_pad={"to 1": 1.0}).audio_encoder.train()(*inputs)
    fixed = tiny_model(tokenizer, pad="to 1").audio_encoder.train()(*inputs)
    assert torch.equal(drawn[0], fixed[0]) and drawn[1] is None and fixed[1] is None
