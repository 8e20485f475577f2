"""Adapters -> a whole model: their products are added to the pretrained weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from whisper_er.base.errors import UserError
from whisper_er.base.weights import load_weights, open_weights
from whisper_er.config import LoraConfig

A, B = ".lora_A.default.weight", ".lora_B.default.weight"  # end the names of a layer's matrices, as peft gives them
TABLE, ADDED = "decoder.embed_tokens.weight", "decoder.embed_tokens.added"


def holds_adapters(checkpoint: Path) -> bool:
    """Whether a checkpoint has what a training with LoRA trains, and not a whole model."""
    return any(name.endswith(A) for name in open_weights(checkpoint).keys())


def merge(base: Mapping[str, torch.Tensor], checkpoints: Sequence[Path], config: LoraConfig) -> dict[str, torch.Tensor]:
    """The mean of the whole models of the checkpoints, computed in float64, under the names and in the dtypes of base.

    What is averaged is B A: the product of the mean matrices would not be the mean of the models. base: the pretrained
    model. UserError where the checkpoints do not belong to it or to each other.
    """
    trained, whole = [load_weights(path) for path in checkpoints], dict(base)
    for path, tensors in zip(checkpoints, trained):
        if tensors.keys() != trained[0].keys():
            raise UserError(f"{path}: has other tensors than {checkpoints[0]}; run stage 3 again")
    for name in trained[0]:
        if name.endswith(B):
            continue
        rows, is_adapter = slice(None), name.endswith(A)
        if is_adapter:
            name, layer = name.removesuffix(A) + ".weight", name.removesuffix(A)
            value = mean([tensors[layer + B].double() @ tensors[layer + A].double() for tensors in trained])
        else:
            value = mean([tensors[name].double() for tensors in trained])
        if name == ADDED:
            name, rows = TABLE, slice(-len(value), None)
        if name not in base or base[name][rows].shape != value.shape:
            raise UserError(f"{checkpoints[0]}: the pretrained model has no {name} of its shape; is it another one?")
        if is_adapter:
            value = base[name].double() + config.alpha / config.r * value
        whole[name] = base[name].clone()
        whole[name][rows] = value
    return whole


def mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(tensors)).mean(0)
