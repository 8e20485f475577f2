"""The training state on disk: tensors, plain values and their digest in a safetensors file, and the state before."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from whisper_er.base.errors import UserError
from whisper_er.base.files import link
from whisper_er.base.plain_files import parse_json
from whisper_er.base.weights import open_weights, save_weights
from whisper_er.step.parallel import share_like


@dataclass
class TrainingState:
    """A saved state. values: plain; names: of the tensors; tensor(name): reads one, so that few are in memory."""

    values: dict[str, Any]
    names: list[str]
    tensor: Callable[[str], torch.Tensor]


def save_state(
    path: Path, weights: Mapping[str, torch.Tensor], moments: Mapping[str, torch.Tensor], values: str
) -> None:
    """Write the state; the one before becomes `previous(path)`: one of the two is always whole.

    weights: of the model, on the CPU; moments: of the optimizer, as `collect` names them; values: plain ones as JSON.
    """
    tensors = {f"model.{name}": weight for name, weight in weights.items()} | moments
    digest = digest_of(values, tensors, tensors.__getitem__)

    def keep_previous() -> None:
        if path.exists():
            link(path, previous(path))

    save_weights(tensors, path, {"values": values, "sha256": digest}, before_replacing=keep_previous)


def previous(path: Path) -> Path:
    """Path of the state before the newest."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def usable_state(path: Path) -> tuple[Path, str]:
    """Path of the newest state, or of the one before if it is broken, and a warning or "". UserError if both are."""
    reasons = []
    for candidate in filter(Path.is_file, (path, previous(path))):
        try:
            check_state(candidate)
        except UserError as error:
            reasons.append(str(error))
        else:
            return candidate, f"{'; '.join(reasons)}; going on from the state before it" if reasons else ""
    raise UserError(f"{' | '.join(reasons)}; remove {path} to start anew")


def check_state(path: Path) -> None:
    """UserError where the content does not match its digest."""
    state, metadata = read_state(path), open_weights(path).metadata()
    if digest_of(metadata["values"], state.names, state.tensor) != metadata.get("sha256"):
        raise UserError(f"{path}: its content does not match its digest")


def read_state(path: Path) -> TrainingState:
    """Open a state without checking its digest."""
    file = open_weights(path)
    try:
        values = parse_json((file.metadata() or {})["values"])
    except (KeyError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path}: is no training state")
    return TrainingState(values, list(file.keys()), file.get_tensor)


def digest_of(text: str, names: Iterable[str], tensor: Callable[[str], torch.Tensor]) -> str:
    """sha256 over the plain values and every tensor with its name, type and shape.

    It runs at about 1 GB/s, crc32 would at 2.7: 0.6 s less for whisper-base, in a thread that holds nothing up.
    """
    sha256 = hashlib.sha256(text.encode())
    for name in sorted(names):
        value = tensor(name)
        sha256.update(f"\0{name} {value.dtype} {tuple(value.shape)}\0".encode())
        sha256.update(value.reshape(-1).view(torch.uint8).numpy())
    return sha256.hexdigest()


def saved(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a checkpoint has of a model, and a state: all of it, unless Model.saves_trained_only."""
    tensors = model.state_dict()
    if not getattr(model, "saves_trained_only", False):
        return tensors
    return {name: tensors[name] for name, weight in model.named_parameters() if weight.requires_grad}


def collect(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """The optimizer's tensors, of which a process may hold a share, and its groups."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer.{index}.{name}": tensor
        for index, moments in state["state"].items()
        for name, tensor in moments.items()
    }
    return tensors, state["param_groups"]


@torch.no_grad()
def put_back(state: TrainingState, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load a state tensor by tensor; each process takes its share, whatever the layout of those that saved it."""
    for name, tensor in saved(model).items():
        tensor.copy_(share_like(state.tensor(f"model.{name}"), tensor))
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name in state.names:
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            tensor = state.tensor(name)
            like = weights[int(index)] if tensor.dim() else tensor  # the step count is one number
            moments.setdefault(int(index), {})[key] = share_like(tensor, like)
    optimizer.load_state_dict({"state": moments, "param_groups": state.values["optimizer"]})
