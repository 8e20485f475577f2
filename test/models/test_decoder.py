"""The decoder against transformers' own: in one pass, token by token with the cache, and with beams."""

import copy

import pytest
import torch
from tiny_whisper import SIZES
from transformers import WhisperConfig, WhisperModel

from whisper_er.models.decoder import cross_attention_inputs, decode, use_own_layers

VOCABULARY, WIDTH, FRAMES = 30, SIZES["d_model"], [17, 9]
SPECIAL = dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"], 0)


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return WhisperModel(WhisperConfig(vocab_size=VOCABULARY, **SIZES, **SPECIAL)).decoder.eval()


def own(decoder):
    return use_own_layers(copy.deepcopy(decoder))


@pytest.fixture(scope="module")
def states():
    """Encoder states (2, 17, D) and a mask; garbage behind the second utterance."""
    torch.manual_seed(1)
    return torch.randn(2, 17, WIDTH), torch.arange(17) < torch.tensor(FRAMES)[:, None]


def expected(decoder, tokens_L: torch.Tensor, states_TD: torch.Tensor) -> torch.Tensor:
    """(L, D) of one row."""
    return decoder(input_ids=tokens_L[None], encoder_hidden_states=states_TD[None]).last_hidden_state[0]


@torch.no_grad()
def test_one_pass_is_that_of_transformers_on_each_utterances_own_states(decoder, states):
    states_BTD, mask_BT = states
    tokens_BL = torch.randint(VOCABULARY, (2, 12))
    hidden_BLD, _ = decode(own(decoder), tokens_BL, cross_attention_inputs(decoder, states_BTD, mask_BT))
    for hidden_LD, tokens_L, states_TD, frames in zip(hidden_BLD, tokens_BL, states_BTD, FRAMES):
        torch.testing.assert_close(hidden_LD, expected(decoder, tokens_L, states_TD[:frames]), atol=1e-5, rtol=0)


@torch.no_grad()
def test_token_by_token_with_the_cache_is_the_same_as_in_one_pass(decoder, states):
    tokens_BL = torch.randint(VOCABULARY, (2, 12))
    cross = cross_attention_inputs(decoder, *states)
    whole_BLD, _ = decode(own(decoder), tokens_BL, cross)
    hidden_BLD, past = decode(own(decoder), tokens_BL[:, :4], cross)
    parts = [hidden_BLD]
    for position in range(4, 12):
        hidden_B1D, past = decode(own(decoder), tokens_BL[:, position : position + 1], cross, past)
        parts.append(hidden_B1D)
    torch.testing.assert_close(torch.cat(parts, 1), whole_BLD, atol=1e-5, rtol=0)


@torch.no_grad()
def test_beams_that_change_places_continue_from_the_rows_that_they_come_from(decoder, states):
    states_BTD, mask_BT = states
    cross = cross_attention_inputs(decoder, states_BTD, mask_BT)
    said_RL = torch.randint(VOCABULARY, (2, 3))
    _, past = decode(own(decoder), said_RL, cross)
    for source_R in (torch.tensor([0, 0, 1, 1]), torch.tensor([1, 0, 3, 3]), torch.tensor([1, 1, 2, 3])):
        said_RL = torch.cat([said_RL[source_R], torch.randint(VOCABULARY, (4, 1))], 1)
        hidden_R1D, past = decode(own(decoder), said_RL[:, -1:], cross, past.select(source_R))
    for row, utt in enumerate([0, 0, 1, 1]):
        whole_LD = expected(decoder, said_RL[row], states_BTD[utt, : FRAMES[utt]])
        torch.testing.assert_close(hidden_R1D[row, 0], whole_LD[-1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_utterances_that_are_left_keep_their_own_encoder_states(decoder, states):
    states_BTD, mask_BT = states
    cross = cross_attention_inputs(decoder, states_BTD, mask_BT).select(torch.tensor([1]))
    tokens_1L = torch.randint(VOCABULARY, (1, 5))
    hidden_1LD, _ = decode(own(decoder), tokens_1L, cross)
    torch.testing.assert_close(hidden_1LD[0], expected(decoder, tokens_1L[0], states_BTD[1, :9]), atol=1e-5, rtol=0)
