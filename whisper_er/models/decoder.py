"""Whisper's decoder with a mask on cross-attention and a cache for beam search, on transformers' modules.

Transformers' own decoder passes no mask to cross-attention, so padding in a batch would change results.
Axes: R rows (utterances x beams), B utterances, L tokens, T encoder frames, D width, H heads, C channels of a head,
K tokens of the past and of the input.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from transformers.models.whisper.modeling_whisper import WhisperAttention, WhisperDecoder, WhisperDecoderLayer


@dataclass
class Cross:
    """Keys and values of the encoder's states, one pair per layer, computed once and shared by an utterance's beams.

    key_BHTC, value_BHTC per layer; mask_B11T: bool or None where nothing is padded.
    """

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    mask_B11T: torch.Tensor | None

    def select(self, index_B: torch.Tensor) -> "Cross":
        """The utterances at these positions."""
        mask = None if self.mask_B11T is None else self.mask_B11T[index_B]
        return Cross([(key[index_B], value[index_B]) for key, value in self.layers], mask)


class Cache(Protocol):
    """Keys and values of one layer's self-attention, of the tokens decoded so far."""

    def extended(self, key_BHLC: torch.Tensor, value_BHLC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and all values, with those of further tokens."""
        ...


class Grown(NamedTuple):
    """A cache that grows by a copy at every token, (R, H, L, C)."""

    key: torch.Tensor
    value: torch.Tensor

    def extended(self, key_RHLC: torch.Tensor, value_RHLC: torch.Tensor) -> "Grown":
        return Grown(torch.cat([self.key, key_RHLC], dim=2), torch.cat([self.value, value_RHLC], dim=2))


@dataclass
class Past:
    """Caches of the layers.

    left_R: int64, how many tokens in front of each row are padding; None where rows start together.
    """

    layers: list[Grown] = field(default_factory=list)
    left_R: torch.Tensor | None = None

    def select(self, index_R: torch.Tensor) -> "Past":
        """The rows at these positions, in this order."""
        left_R = None if self.left_R is None else self.left_R[index_R]
        return Past([Grown(key[index_R], value[index_R]) for key, value in self.layers], left_R)


def cross_attention_inputs(decoder: WhisperDecoder, states_BTD: torch.Tensor, mask_BT: torch.Tensor | None) -> Cross:
    """Project the encoder's states for every layer. mask_BT: bool, True inside; None where nothing is padded."""
    layers = []
    for layer in decoder.layers:
        attention = layer.encoder_attn
        layers.append(
            (split_heads(attention, attention.k_proj(states_BTD)), split_heads(attention, attention.v_proj(states_BTD)))
        )
    return Cross(layers, None if mask_BT is None else mask_BT[:, None, None, :])


def decode(
    decoder: WhisperDecoder, input_RL: torch.Tensor, cross: Cross, past: Past | None = None
) -> tuple[torch.Tensor, Past]:
    """Hidden states (R, L, D) after the last layer norm, and the cache with the new tokens appended.

    decoder: with the layers of use_own_layers. input_RL: int64; R is a multiple of B, and the rows of an utterance
    stand together. Where `past` has tokens L must be 1. Padding on the left (past.left_R) is no key of any token, and
    the positions of a row start behind it; its hidden states mean nothing.
    """
    past = past or Past()
    past_length = past.layers[0][0].shape[2] if past.layers else 0
    assert not past_length or input_RL.shape[1] == 1
    if past.left_R is None:
        positions, own_mask_R1LK = decoder.embed_positions.weight[past_length : past_length + input_RL.shape[1]], None
    else:
        place_K = torch.arange(past_length + input_RL.shape[1], device=input_RL.device)
        place_L1 = place_K[past_length:, None]
        positions = decoder.embed_positions.weight[(place_L1[:, 0] - past.left_R[:, None]).clamp(min=0)]
        is_real_R1K = place_K >= past.left_R[:, None, None]
        # Padding reads itself: a softmax over nothing would be NaN.
        own_mask_R1LK = ((place_K <= place_L1) & is_real_R1K | (place_K == place_L1))[:, None]
    hidden = decoder.embed_tokens(input_RL) + positions
    hidden = F.dropout(hidden, decoder.dropout, decoder.embed_positions.training)  # not where these are frozen
    caches = []
    for index, layer in enumerate(decoder.layers):
        cached = past.layers[index] if past_length else None
        hidden, cache = layer(hidden, cached, cross.layers[index], cross.mask_B11T, own_mask_R1LK)
        caches.append(cache)
    return decoder.layer_norm(hidden), Past(caches, past.left_R)


class DecoderLayer(WhisperDecoderLayer):
    """transformers' layer with another forward pass; its activation checkpointing still applies."""

    def forward(
        self,
        hidden_RLD: torch.Tensor,
        past: Cache | None,
        cross: tuple[torch.Tensor, torch.Tensor],
        mask_B11T: torch.Tensor | None,
        own_mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, Grown]:
        """Self-attention, cross-attention, feed-forward; each normalised before and added after.

        own_mask: bool, of self-attention; None: each token reads those up to itself.
        """
        rows, length, width = hidden_RLD.shape

        attention, normed = self.self_attn, self.self_attn_layer_norm(hidden_RLD)
        key, value = split_heads(attention, attention.k_proj(normed)), split_heads(attention, attention.v_proj(normed))
        if past is not None:
            key, value = past.extended(key, value)
        attended = attend(attention, normed, key, value, own_mask, causal=past is None and own_mask is None)
        hidden_RLD = hidden_RLD + F.dropout(attended, self.dropout, self.training)

        # The beams of an utterance query the same keys: they are laid out as further positions of one query.
        normed = self.encoder_attn_layer_norm(hidden_RLD).view(cross[0].shape[0], -1, width)
        attended = attend(self.encoder_attn, normed, *cross, mask=mask_B11T).view(rows, length, width)
        hidden_RLD = hidden_RLD + F.dropout(attended, self.dropout, self.training)

        inner = self.activation_fn(self.fc1(self.final_layer_norm(hidden_RLD)))
        inner = self.fc2(F.dropout(inner, self.activation_dropout, self.training))
        return hidden_RLD + F.dropout(inner, self.dropout, self.training), Grown(key, value)


def use_own_layers(decoder: WhisperDecoder) -> WhisperDecoder:
    """Have `decode` run on transformers' decoder: its layers become DecoderLayers, with the weights that they have."""
    for layer in decoder.layers:
        layer.__class__ = DecoderLayer
    return decoder


def attend(
    attention: WhisperAttention,
    hidden: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """Multi-head attention (B, L, D) of `hidden` (B, L, D) on projected keys and values (B, H, T, C)."""
    query = split_heads(attention, attention.q_proj(hidden))
    dropout = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal)
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


def split_heads(attention: WhisperAttention, hidden: torch.Tensor) -> torch.Tensor:
    """(B, L, D) -> (B, H, L, C)."""
    return hidden.view(*hidden.shape[:2], attention.num_heads, attention.head_dim).transpose(1, 2)
