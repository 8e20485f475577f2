"""Weights as safetensors, written whole or not at all; the mean of several."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from whisper_er.atomic import replace
from whisper_er.errors import UserError


def save_weights(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors beside the file, flush them to disk, rename."""
    temporary = path.with_name(path.name + ".tmp")
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}, temporary)
    replace(temporary, path)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    file = open_weights(path)
    return {name: file.get_tensor(name) for name in file.keys()}


def open_weights(path: Path) -> safe_open:
    """Open a file for reading tensor by tensor; UserError where it is missing, cut short or something else."""
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {error}") from None


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write the training state: tensors and plain values, nothing that would have to be unpickled."""
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    replace(temporary, path)


def load_state(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the broken bytes make it raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a training state ({reason}); remove it to start anew") from None


def average(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of the checkpoints, tensor by tensor, summed in float64 and returned in their own dtype.

    One tensor is held at a time besides the result, whatever the number of checkpoints.
    """
    files = [open_weights(path) for path in paths]
    result = {}
    for name in files[0].keys():
        total = files[0].get_tensor(name).double()
        for file in files[1:]:
            total += file.get_tensor(name)
        result[name] = (total / len(files)).to(files[0].get_tensor(name).dtype)
    return result
