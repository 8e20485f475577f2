"""A function that changes its inputs where they lie, called on them again and again: one CUDA graph for each set of
shapes, all on the same memory.

Steps of a search are one: what a step leaves is what the next one starts from, and nothing is copied in between.
"""

from collections.abc import Hashable, Mapping

import torch

from whisper_er.graphs.captured import Captured, Function, Rehearsal, Tensors, fill, key_of

ALIGNMENT = 256  # bytes, as torch's allocator has it


class Repeated(Captured):
    """`begin` puts inputs in their places; each `step` is a call of the function on what is there.

    A set of shapes is captured when it is first met, after a call for warming up. The inputs of all shapes share memory
    of the size of the largest; where that grows, the graphs made before leave, since theirs is gone.
    """

    draws = False

    def __init__(self, function: Function, device: torch.device, most: int, rehearse: bool = False) -> None:
        super().__init__(function, device, most, rehearse)
        self.device = device
        self.memory: torch.Tensor | None = None
        self.current: Rehearsal | None = None

    def begin(self, inputs: Mapping[str, torch.Tensor], variant: Hashable = None) -> None:
        inputs = dict(inputs)
        self.reserve(sum(map(room, inputs.values())))
        key = key_of(inputs, variant)
        if key not in self.met:
            self.current = None  # so that it can leave
            self.make_room()
            placed = self.places(inputs)
            fill(placed, inputs)
            self.warm_up(placed)
            self.met[key] = self.capture(placed)
        self.current = self.met[key]
        fill(self.inputs, inputs)

    def step(self) -> Tensors:
        """The outputs; the inputs are changed as the function changes them."""
        return self.current.replay()

    @property
    def inputs(self) -> Tensors:
        """Where they lie; the next `begin` overwrites them."""
        return self.current.inputs

    def reserve(self, size: int) -> None:
        if self.memory is None or size > len(self.memory):
            self.release()
            self.memory = torch.empty(size, dtype=torch.uint8, device=self.device)

    def release(self) -> None:
        super().release()
        self.current = self.memory = None

    def places(self, inputs: Tensors) -> Tensors:
        """A tensor like each input, one behind the other in the memory."""
        placed, start = {}, 0
        for name, tensor in inputs.items():
            part = self.memory[start : start + tensor.numel() * tensor.element_size()]
            placed[name] = part.view(tensor.dtype).view(tensor.shape)
            start += room(tensor)
        return placed


def room(tensor: torch.Tensor) -> int:
    """Bytes of memory, up to where the next tensor may begin."""
    return -(-tensor.numel() * tensor.element_size() // ALIGNMENT) * ALIGNMENT
