"""One model on several processes: DDP, where each holds all of it, or FSDP2, where each holds its share.

DDP's exchange runs by hooks in the pass, beside it. In a CUDA graph they have no place: there gradients are averaged
behind the passes of a step.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from whisper_er.base.errors import UserError
from whisper_er.process import distributed

if TYPE_CHECKING:  # averaging loads this file, and no model
    from whisper_er.models.base import Model

BUCKET = 2**25  # numbers of gradients that travel together: 128 MiB beside them


def spread(model: "Model", kind: Literal["ddp", "fsdp"]) -> torch.nn.Module:
    """The module that training calls instead of the model; gradients are means over the processes. UserError for a
    model that FSDP cannot train.

    fsdp replaces the model's parameters by shares of them, so make the optimizer afterwards.
    """
    if distributed.world_size() == 1:
        return model
    drops_layers = getattr(model.backbone_config, "layerdrop", 0) > 0  # of wav2vec 2.0: each process leaves out others
    if kind == "ddp":
        with warnings.catch_warnings():  # torch 2.13 has another name for broadcast_buffers, unknown to older ones
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model, broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=drops_layers
            )
    if drops_layers:
        raise UserError(
            "parallel=fsdp: this encoder leaves out layers at random (layerdrop), which FSDP cannot; set parallel=ddp"
        )
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # on which nothing works in place
    mesh = init_device_mesh(next(model.parameters()).device.type, (distributed.world_size(),))
    for unit in [*model.units(), model]:
        fully_shard(unit, mesh=mesh)
    return model


def copy_from_main(model: torch.nn.Module) -> None:
    """All processes start from the same weights, which DDP alone sees to by itself."""
    if distributed.world_size() > 1:
        for weight in model.parameters():
            dist.broadcast(weight.detach(), src=0)


@torch.no_grad()
def average_gradients(model: torch.nn.Module) -> None:
    """What DDP does in the last pass of a step: each gradient becomes its mean over the processes, which have the same
    ones. A GPU queues it; nothing waits."""
    if distributed.world_size() == 1:
        return
    for bucket in buckets([weight.grad for weight in model.parameters() if weight.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in bucket]).div_(distributed.world_size())
        parts = distributed.all_sum(flat).split([gradient.numel() for gradient in bucket])
        torch._foreach_copy_(bucket, [part.view_as(gradient) for part, gradient in zip(parts, bucket)])


def buckets(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in their order, as many together as have BUCKET numbers; one that has more goes alone."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        if bucket and sum(map(torch.numel, bucket)) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def without_exchange(module: torch.nn.Module) -> AbstractContextManager:
    """For all micro-batches of a step but the last: DDP adds up gradients here, and exchanges them once."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor of which each process may hold a share. Every process has to call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_whole(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor whole, one at a time, on its device. Every process has to go through all of them."""
    for name, tensor in tensors.items():
        yield name, whole(tensor.detach())


def share_like(whole_tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's share of a tensor that each of them has whole, divided as `like` is."""
    if not isinstance(like, DTensor):
        return whole_tensor
    return distribute_tensor(whole_tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@contextmanager
def gathered(model: "Model") -> Iterator[None]:
    """All weights on every process, for validation, in which the processes make different numbers of steps."""
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.unshard()
        unit.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(unit is not model, recurse=False)  # the root's default
