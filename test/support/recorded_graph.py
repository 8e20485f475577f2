"""What a CUDA graph is, on the CPU: the operations of one call of a function with the tensors that they had, done again
and again. What the function reads beside the device's memory is what it was when it was captured."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whisper_er.graphs.captured import Function, Rehearsal, Tensors

READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2"}


class RecordedGraph(Rehearsal):
    """In place of whisper_er.graphs.captured.Graph."""

    def __init__(self, function: Function, inputs: Tensors) -> None:
        super().__init__(function, inputs)
        recording = Recording()
        with torch.random.fork_rng(devices=[]), recording:
            self.outputs = function(inputs)
        recording.undo()
        self.calls = recording.calls

    @torch.no_grad()
    def replay(self) -> Tensors:
        for operation, args, kwargs, results in self.calls:
            for old, new in zip(results, tensors(operation(*args, **kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():  # else a view, or changed where it lies
                    old.copy_(new)
        return self.outputs


class Recording(TorchDispatchMode):
    """Operations and their tensors, all kept. What they change of what was there before is put back by `undo`, since a
    capture computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []
        self.made: set[int] = set()  # addresses of memory
        self.fixed: set[int] = set()  # of what depends on shapes alone, which the host may read
        self.before: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        read = {address(one) for one in tensors([args, kwargs])}
        is_new = operation is torch.ops.aten.lift_fresh.default  # torch.tensor
        is_fixed = (is_new or read <= self.fixed) and torch.Tag.nondeterministic_seeded not in operation.tags
        if operation._schema.name.removeprefix("aten::") in READS and not is_fixed:
            raise RuntimeError("operation not permitted when stream is capturing")
        for argument, value in zip(operation._schema.arguments, args):
            if argument.alias_info and argument.alias_info.is_write:
                self.before += [(one, one.clone()) for one in tensors(value) if address(one) not in self.made]
        results = operation(*args, **kwargs)
        written = {address(one) for one in tensors(results)}
        self.made |= written - read
        self.fixed = self.fixed | written if is_fixed else self.fixed - written
        if torch.Tag.inplace_view not in operation.tags:  # such as transpose_, which computes nothing
            self.calls.append((operation, args, kwargs, [one.detach() for one in tensors(results)]))
        return results

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, value in reversed(self.before):
            tensor.copy_(value)


def tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
