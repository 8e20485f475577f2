"""A function of tensors as CUDA graphs, one for each set of shapes: a GPU gets its thousands of kernels in one call.

What a function may not do in a graph: read a value from the device, copy from the CPU's memory, choose by a value. What
it reads and writes beside its inputs (weights, gradients, caches) has to keep its place in memory.
"""

import traceback
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path

import torch

from whisper_er.process.memory import tells

Tensors = dict[str, torch.Tensor]
Function = Callable[[Tensors], Tensors]


class CaptureFailed(RuntimeError):
    """The function could not be captured; its graphs have left, and the device goes on. Where the function draws random
    numbers, torch's default generator was replaced: seed it."""


class Rehearsal:
    """What a captured graph is to its caller, without a graph: inputs are copied to where they were the first time, and
    outputs lie where they lay. It shows on any device that a function is fit for one."""

    def __init__(self, function: Function, inputs: Tensors) -> None:
        """inputs: they keep their place, and are overwritten."""
        self.function, self.inputs = function, inputs
        self.outputs: Tensors = {}

    def __call__(self, inputs: Tensors) -> Tensors:
        fill(self.inputs, inputs)
        return self.replay()

    def replay(self) -> Tensors:
        for name, tensor in self.function(self.inputs).items():
            self.outputs.setdefault(name, torch.empty_like(tensor)).copy_(tensor)
        return self.outputs


class Graph(Rehearsal):
    """A captured CUDA graph."""

    def __init__(self, function: Function, inputs: Tensors, pool: tuple[int, int], stream: torch.cuda.Stream) -> None:
        super().__init__(function, inputs)
        self.graph = torch.cuda.CUDAGraph()
        has_begun = False
        try:
            # thread_local: what other threads do, such as saving, does not end the capture.
            with torch.cuda.graph(self.graph, pool, stream, capture_error_mode="thread_local"):
                has_begun = True
                self.outputs = function(self.inputs)
        except Exception:
            if has_begun:  # before, nothing was taken of the pool
                give_up(stream.device.index, pool)
            raise

    def replay(self) -> Tensors:
        self.graph.replay()
        return self.outputs


def give_up(device: int, pool: tuple[int, int]) -> None:
    """What torch leaves out where the end of a capture raises: the allocator waits for it, gives nothing back, keeps
    the pool. Where the allocator had its end, the pool is left to the graph: released twice, it would end the process.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None) or torch._C._cuda_endAllocateCurrentStreamToPool  # to 2.7
    with suppress(RuntimeError):
        end(device, pool)  # raises where the allocator had its end
        torch._C._cuda_releasePool(device, pool)


def fill(places: Tensors, inputs: Tensors) -> None:
    for name, tensor in inputs.items():
        places[name].copy_(tensor, non_blocking=True)


def key_of(inputs: Tensors, variant: Hashable) -> Hashable:
    """What two calls have in common that one graph serves."""
    return (variant, *((name, tensor.shape, tensor.dtype) for name, tensor in sorted(inputs.items())))


class Captured:
    """The function, called with the same outputs: a set of shapes is run as it is the first time that it is met, which
    also warms up what cannot be captured cold; the second time it is captured; from then on it is replayed.

    function: inputs on the device -> outputs, both by name.
    most: graphs that are kept; beyond them all leave, since in torch 2.13 one that leaves takes along the workspace of
        cuBLAS, which all have (pytorch's issue 193402). All share one memory pool, so the next replay, of whatever
        shapes, may overwrite the outputs of this one.
    rehearse: without a GPU, by Rehearsal; the tests do so.
    """

    draws = True  # random numbers

    def __init__(self, function: Function, device: torch.device, most: int, rehearse: bool = False) -> None:
        self.function, self.most, self.rehearse = function, most, rehearse
        self.met: dict[Hashable, Rehearsal | None] = {}  # None: once
        if not rehearse:
            self.stream = torch.cuda.Stream(device)

    def __call__(self, inputs: Mapping[str, torch.Tensor], variant: Hashable = None) -> Tensors:
        """variant: what the function does differently beside its inputs; part of the key of a graph."""
        inputs = dict(inputs)
        key = key_of(inputs, variant)
        if key not in self.met:
            self.make_room()
            self.met[key] = None
            return self.warm_up(inputs)
        if self.met[key] is None:
            self.met[key] = self.capture({name: tensor.clone() for name, tensor in inputs.items()})
        return self.met[key](inputs)

    def make_room(self) -> None:
        if len(self.met) >= self.most:
            self.met.clear()

    def warm_up(self, inputs: Tensors) -> Tensors:
        """On the stream that captures, as torch asks for: nodes of a backward pass stay on the stream they are made
        on."""
        if self.rehearse:
            return self.function(inputs)
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = self.function(inputs)
        current.wait_stream(self.stream)
        for tensor in outputs.values():
            tensor.record_stream(current)
        return outputs

    def release(self) -> None:
        """Give up the graphs, and with the last of them the memory that they share."""
        self.met.clear()

    def capture(self, inputs: Tensors) -> Rehearsal:
        if self.rehearse:
            return Rehearsal(self.function, inputs)
        device = self.stream.device
        current, generator = torch.cuda.current_stream(device), torch.cuda.default_generators[device.index]
        default, other = generator.graphsafe_get_state(), torch.Generator(device).graphsafe_get_state()
        for _ in range(2):
            if not any(self.met.values()):  # torch gives a pool up with the last graph in it
                self.pool = torch.cuda.graph_pool_handle()
            try:
                generator.graphsafe_set_state(default if self.draws else other)
                return Graph(self.function, inputs, self.pool, self.stream)
            except Exception as error:  # such as an operation that a graph cannot hold; eagerly there was none
                first = error.__context__ or error  # the second one is that the capture cannot end
                reason, is_full = told(first), tells(first) or tells(error)
                del first
            finally:
                generator.graphsafe_set_state(default)
            torch.cuda.set_stream(current)  # a capture that fails leaves its own as the current one
            # Where small shapes came before large ones, the pool is in pieces: all graphs leave, this one comes first.
            self.met.clear()
            if not is_full:
                break
        if self.draws:  # its generator waits for the end as well
            generator.graphsafe_set_state(other)
        raise CaptureFailed(f"a CUDA graph could not be captured: {reason}")


def told(error: BaseException) -> str:
    """The first line of its message, and where in this package it came up."""
    message = " ".join(str(error).split("\n")[0].split())[:200]
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "whisper_er" in frame.filename]
    return f"{message} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else message
