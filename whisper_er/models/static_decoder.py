"""A step of the decoder on tensors whose shapes and places stay, as a CUDA graph needs it.

Nothing is reordered when hypotheses change their order: the key of a token stays where the hypothesis wrote it that was
k-th then, and each hypothesis knows at whose keys of each token it looks.
Axes: B utterances, K beams, P positions of the prefix, S slots (tokens after the prefix), T encoder frames, D width,
H heads, C channels of a head.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.func import functional_call
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from whisper_er.graphs.captured import Tensors
from whisper_er.graphs.shapes import next_size
from whisper_er.models.decoder import Cross, Past

FRAMES = (8, 1.25)  # unit and ratio of the scale of encoder frames
NOBODY = -1  # in holder_BKS: no token yet


class Slots(NamedTuple):
    """A cache of fixed size, (B, H, P + S x K, C): the prefix, which the beams of an utterance share, then K keys for
    each token. place_K: int64, where the next token's are written."""

    key: torch.Tensor
    value: torch.Tensor
    place_K: torch.Tensor

    def extended(self, key_BHKC: torch.Tensor, value_BHKC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.key.index_copy_(2, self.place_K, key_BHKC), self.value.index_copy_(2, self.place_K, value_BHKC)


class StaticDecoder:
    """`decode` for a single token of each beam. decoder: with the layers of use_own_layers.

    The tensors that it works on, all with B in front:
        own_key.<layer>, own_value.<layer>, cross_key.<layer>, cross_value.<layer>: see Slots and Cross;
        cross_mask_BT, prefix_mask_BP: bool, True inside; prefix_length_B: int64;
        holder_BKS: int64, the beam among whose keys hypothesis k has its s-th token.
    """

    def __init__(self, decoder: WhisperDecoder) -> None:
        self.decoder, self.kind = decoder, decoder.embed_tokens.weight.device.type
        # Weights in autocast's type, name -> weight of each layer and, last, of the output; empty until it is on.
        self.cast: list[Tensors] = [{} for _ in range(len(decoder.layers) + 1)]

    def begin(self, past: Past, prefix_mask_BP: torch.Tensor, cross: Cross, beams: int) -> Tensors:
        """The tensors, still without slots. past: of the prefix, whose padding prefix_mask_BP tells. It is emptied, and
        cross as well: memory need not hold them twice."""
        self.refresh()
        frames, positions = cross.layers[0][0].shape[2], prefix_mask_BP.shape[1]
        more_frames, more_positions = next_size(frames, *FRAMES) - frames, -positions % 16
        cross_mask_BT = prefix_mask_BP.new_ones(len(prefix_mask_BP), frames)
        if cross.mask_B11T is not None:
            cross_mask_BT = cross.mask_B11T[:, 0, 0]
        tensors = {
            "cross_mask_BT": F.pad(cross_mask_BT, (0, more_frames)),
            "prefix_mask_BP": F.pad(prefix_mask_BP, (0, more_positions)),
            "prefix_length_B": prefix_mask_BP.sum(1),
            "holder_BKS": torch.empty(len(cross_mask_BT), beams, 0, dtype=torch.long, device=prefix_mask_BP.device),
        }
        for name, layers, more in (("own", past.layers, more_positions), ("cross", cross.layers, more_frames)):
            for index in reversed(range(len(layers))):
                key, value = layers.pop()
                tensors[f"{name}_key.{index}"] = F.pad(key, (0, 0, 0, more))
                tensors[f"{name}_value.{index}"] = F.pad(value, (0, 0, 0, more))
        return tensors

    def refresh(self) -> None:
        """Cast the weights as autocast would in every step, to where a graph finds them; they may have been trained."""
        if not torch.is_autocast_enabled(self.kind):
            return
        own = [dict(layer.named_parameters()) for layer in self.decoder.layers]
        for cast, weights in zip(self.cast, [*own, {"output": self.decoder.embed_tokens.weight}]):
            for name, weight in weights.items():
                if "norm" in name:  # which autocast has in float32
                    continue
                if name not in cast:
                    cast[name] = torch.empty_like(weight, dtype=torch.get_autocast_dtype(self.kind))
                cast[name].copy_(weight)

    def with_slots(self, tensors: Tensors, slots: int) -> Tensors:
        """The same with so many slots, which are more than before."""
        beams, before = tensors["holder_BKS"].shape[1:]
        widened = {"holder_BKS": F.pad(tensors["holder_BKS"], (0, slots - before), value=NOBODY)}
        for name, tensor in tensors.items():
            if name.startswith("own_"):
                widened[name] = F.pad(tensor, (0, 0, 0, (slots - before) * beams))
        return tensors | widened

    def step(self, tensors: Tensors, token_BK: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
        """logits_BKV after these tokens, which are written into a slot (int64, no axis)."""
        dtype, on = torch.get_autocast_dtype(self.kind), torch.is_autocast_enabled(self.kind)
        with torch.autocast(self.kind, dtype, on, cache_enabled=False):  # what it keeps would leave before the graph
            hidden_BKD = self.hidden(tensors, token_BK, slot, self.cast[:-1] if on else [{}] * len(self.cast[:-1]))
            weight = self.cast[-1]["output"] if on else self.decoder.embed_tokens.weight
            return F.linear(self.decoder.layer_norm(hidden_BKD), weight)

    def hidden(
        self, tensors: Tensors, token_BK: torch.Tensor, slot: torch.Tensor, weights: list[Tensors]
    ) -> torch.Tensor:
        """Hidden states (B, K, D) after the last layer. weights: of each layer, instead of its own."""
        decoder, holder_BKS = self.decoder, tensors["holder_BKS"]
        beam_K = torch.arange(token_BK.shape[1], device=slot.device)
        is_slot_S = torch.arange(holder_BKS.shape[2], device=slot.device) == slot
        holder_BKS.copy_(torch.where(is_slot_S, beam_K[:, None], holder_BKS))
        prefix_mask_BKP = tensors["prefix_mask_BP"][:, None].expand(-1, len(beam_K), -1)
        own_mask_BKSK = holder_BKS[..., None] == beam_K
        own_mask_B1KX = torch.cat([prefix_mask_BKP, own_mask_BKSK.flatten(2)], dim=2)[:, None]
        cross_mask_B11T = tensors["cross_mask_BT"][:, None, None]
        place_K = prefix_mask_BKP.shape[2] + slot * len(beam_K) + beam_K
        # An utterance that is done still gets tokens, which mean nothing, maybe beyond the last position.
        position_B = (tensors["prefix_length_B"] + slot).clamp(max=decoder.embed_positions.num_embeddings - 1)
        hidden_BKD = decoder.embed_tokens(token_BK) + decoder.embed_positions.weight[position_B][:, None]
        for index, layer in enumerate(decoder.layers):
            own_key, own_value, *cross = (
                tensors[f"{name}.{index}"] for name in ("own_key", "own_value", "cross_key", "cross_value")
            )
            inputs = hidden_BKD, Slots(own_key, own_value, place_K), tuple(cross), cross_mask_B11T, own_mask_B1KX
            hidden_BKD, _ = functional_call(layer, weights[index], inputs)
        return hidden_BKD

    def follow(self, tensors: Tensors, parent_BK: torch.Tensor) -> None:
        """Each hypothesis goes on from its parent's tokens."""
        holder_BKS = tensors["holder_BKS"]
        holder_BKS.copy_(holder_BKS.gather(1, parent_BK[..., None].expand_as(holder_BKS)))
