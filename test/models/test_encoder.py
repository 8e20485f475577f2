"""The encoder on inputs of any length against transformers' on 30 s."""

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
