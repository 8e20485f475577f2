"""A GPU for tests on a machine without one: its tensors have values, but do not lie on the CPU.

As with a real one, an operation refuses tensors of both, numpy reads none of them, and while a graph is captured
nothing moves between the two. Operations are done on the CPU, so their results are the CPU's.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from whisper_er.graphs.captured import Rehearsal, Tensors

# Torch has this kind on every machine; all operations of number 0 are replaced. The one without a number is that of
# transformers, for models whose weights are not read yet.
GPU = torch.device("meta", 0)
CPU = torch.device("cpu")
MOVES = {"_to_copy", "copy_", "_foreach_copy_"}
INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_"}  # a GPU fetches indices and values by itself
TAKES_NUMBERS = {"where", "masked_fill", "masked_fill_", "fill_"}  # of the CPU, as what works number by number does
READS = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "bincount",
    "repeat_interleave",
}  # fmt: skip

waits: list[str] = []  # the operations for which the host waited
is_capturing = False


class OnGpu(torch.Tensor):
    @staticmethod
    def __new__(cls, values: torch.Tensor) -> torch.Tensor:
        return torch.Tensor._make_wrapper_subclass(
            cls, values.size(), values.stride(), values.storage_offset(), dtype=values.dtype, device=GPU
        )

    def __init__(self, values: torch.Tensor) -> None:
        self.values_on_cpu = values

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return operate(operation, args, kwargs or {})

    def tolist(self) -> list:
        move("tolist", waiting=True)
        return self.values_on_cpu.tolist()

    def data_ptr(self) -> int:
        return self.values_on_cpu.data_ptr()

    def __repr__(self) -> str:
        return f"OnGpu({self.values_on_cpu})"


class Operations(TorchDispatchMode):
    """Of this thread; those that make tensors have no argument that would tell."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return operate(operation, args, kwargs or {})


class FromNumbers(TorchFunctionMode):
    """torch.tensor and indexing by a list, which would lose them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") == GPU:
            return function(*args, **kwargs | {"device": CPU}).to(GPU)
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(
                torch.tensor(place, dtype=torch.long) if isinstance(place, list) else place for place in places
            )
            args = (args[0], places, *args[2:])
        return function(*args, **kwargs)


def operate(operation: Callable, args: tuple, kwargs: dict) -> object:
    name, device = operation._schema.name.removeprefix("aten::"), kwargs.get("device")
    found = [leaf for leaf in tree_leaves([args, kwargs]) if isinstance(leaf, torch.Tensor)]
    inside = [tensor for tensor in found if isinstance(tensor, OnGpu)]
    outside = [tensor for tensor in found if not isinstance(tensor, OnGpu)]
    is_result_inside = bool(inside) if device is None else torch.device(device) == GPU
    if name in MOVES:
        if (inside and outside) or (found and bool(inside) != is_result_inside):
            move(name, waiting=not (kwargs.get("non_blocking") or args[2:] == (True,)))
    elif inside and outside and name in INDEXES:
        move(name, waiting=True)
    elif inside and outside:
        takes_numbers = torch.Tag.pointwise in operation.tags or name in TAKES_NUMBERS
        if not takes_numbers or any(tensor.dim() for tensor in outside):
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device")
    if inside and (name in READS or (name in INDEXES and any(one.dtype == torch.bool for one in found[1:]))):
        move(name, waiting=True)
    if name == "_fused_sdp_choice":
        return 0  # attention as products and a softmax
    on_cpu = kwargs | ({"device": CPU} if device is not None else {})
    results = operation(*tree_map(values, args), **tree_map(values, on_cpu))
    if name in MOVES and name != "_to_copy":
        return args[0] if name == "copy_" else None
    if not is_result_inside:
        return results
    results = tree_map(lambda leaf: OnGpu(leaf) if type(leaf) is torch.Tensor else leaf, results)
    return return_and_correct_aliasing(operation, args, kwargs, results)


def values(leaf: object) -> object:
    return leaf.values_on_cpu if isinstance(leaf, OnGpu) else leaf


def move(name: str, waiting: bool) -> None:
    """Something moves between the GPU and the CPU."""
    if is_capturing:
        raise RuntimeError(f"{name}: operation not permitted when stream is capturing")
    if waiting:
        waits.append(name)


class PretendedGraph(Rehearsal):
    """In place of whisper_er.graphs.captured.Graph: the function, under the rules of a capture."""

    replays = 0  # of all graphs

    def replay(self) -> Tensors:
        global is_capturing
        is_capturing = True
        PretendedGraph.replays += 1
        try:
            return super().replay()
        finally:
            is_capturing = False


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """What --ngpu 1 and device="cuda" are in this thread. dtype=bfloat16 has no effect on it."""
    autocast, is_enabled, dtype = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype
    waits.clear()
    PretendedGraph.replays = 0
    with ExitStack() as stack:
        for name, function in {
            "whisper_er.process.device.choose_device": lambda ngpu: GPU if ngpu else CPU,
            "whisper_er.recognize.recognizer.find_device": lambda name: GPU if name == "cuda" else CPU,
            "torch.optim.optimizer._get_fused_kernels_supported_devices": lambda: ["cpu", GPU.type],
            "torch.autocast": lambda kind, *args, **kwargs: autocast(on(kind), *args, **kwargs),
            "torch.is_autocast_enabled": lambda kind: is_enabled(on(kind)),
            "torch.get_autocast_dtype": lambda kind: dtype(on(kind)),
        }.items():
            stack.enter_context(mock.patch(name, function))
        stack.enter_context(Operations())
        stack.enter_context(FromNumbers())
        yield GPU


def on(kind: str) -> str:
    """The type of device that autocast knows."""
    return "cpu" if kind == GPU.type else kind
