"""Weights as safetensors, written whole or not at all; the mean of several."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from whisper_er.base.errors import UserError
from whisper_er.base.files import replace

CHUNK = 2**20  # elements that are averaged at a time


def save_weights(
    weights: Mapping[str, torch.Tensor],
    path: Path,
    metadata: dict[str, str] | None = None,
    before_replacing: Callable[[], None] = lambda: None,
) -> None:
    """Write tensors beside the file, flush them to disk, rename. UserError where they cannot be written."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}, temporary, metadata)
        before_replacing()
        replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error}; what was there before is still there") from None


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file; UserError where it is no safetensors that torch can read."""
    file = open_weights(path)
    try:
        return {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # safetensors raises whatever a dtype or a shape that torch lacks makes it raise
        raise UserError(f"{path}: cannot be read as safetensors: {type(error).__name__}: {error}") from None


def open_weights(path: Path) -> safe_open:
    """Open a file for reading tensor by tensor; UserError where it is missing, cut short or something else."""
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {error}") from None


def average(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of the checkpoints, summed in float64 and returned in their own dtype.

    Only a few rows of one tensor are in memory besides the result, whatever the number and size of the checkpoints.
    """
    shapes = shapes_of(paths[0])
    for path in paths:
        if shapes_of(path) != shapes:
            raise UserError(f"{path}: has other tensors than {paths[0]}; they cannot be averaged: run stage 3 again")
    # The whole result is allocated before reading: rows read in between would leave holes, a third of whisper-base.
    result = {name: torch.empty(shape, dtype=read_rows(paths[0], name, slice(0, 1)).dtype)
              for name, shape in shapes.items()}  # fmt: skip
    for name, tensor in result.items():
        fill_with_mean(tensor, paths, name)
    return result


def shapes_of(path: Path) -> dict[str, list[int]]:
    with open_weights(path) as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}


def fill_with_mean(tensor: torch.Tensor, paths: Sequence[Path], name: str) -> None:
    rows = max(1, CHUNK // max(1, math.prod(tensor.shape[1:])))
    for start in range(0, len(tensor) if tensor.dim() else 1, rows):
        part = slice(start, start + rows)
        total = sum(read_rows(path, name, part).double() for path in paths)
        (tensor[part] if tensor.dim() else tensor).copy_(total / len(paths))


def read_rows(path: Path, name: str, rows: slice) -> torch.Tensor:
    """Some rows of a tensor; all of a scalar. An open file would keep in memory the rows read from it."""
    with open_weights(path) as file:
        tensor = file.get_slice(name)
        return tensor[rows] if tensor.get_shape() else file.get_tensor(name)


def clear_half_written(exp_dir: Path) -> None:
    """Remove the files that a run was writing when it was killed."""
    for pattern in ("*.tmp", ".tmp*"):  # ours, and those of safetensors
        for stray in [*exp_dir.glob(pattern), *(exp_dir / "checkpoints").glob(pattern)]:
            stray.unlink()
