"""Weights in bfloat16, which a step computes with beside the float32 ones that it changes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


class Bfloat16Copies:
    """The weights and biases of linear and convolution layers in bfloat16, written once after each update.

    Autocast casts these in every forward pass, and their gradients back one by one: 1.5 billion numbers of large-v3.
    With the copies in their place it casts nothing and gives the same bits. All else stays float32, as under autocast:
    layer norms, positions, and the token table: looked up as it is, and cast by autocast for the output product.
    The model itself, and so the optimizer, checkpoints, states and validation, keeps its float32 weights.

    Nothing here depends on a value of the device, and weights and copies keep their places in memory: fit for a graph.
    """

    def __init__(self, modules: Iterable[torch.nn.Module]) -> None:
        """modules: those of a model on its device, its freezing done; none: there are no copies."""
        self.copies: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
        self.places: list[tuple[torch.nn.Module, str, torch.nn.Parameter]] = []
        for module in modules:
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv1d)):
                for name, weight in module.named_parameters(recurse=False):
                    self.places.append((module, name, weight))
                    copy = torch.nn.Parameter(weight.detach().bfloat16(), weight.requires_grad)
                    self.copies.setdefault(weight, copy)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """For a forward and backward pass: the layers have the copies; the gradients then move to the weights."""
        for module, name, weight in self.places:
            setattr(module, name, self.copies[weight])
        try:
            yield
            self.move_gradients()
        finally:
            for module, name, weight in self.places:
                setattr(module, name, weight)
            for copy in self.copies.values():  # of a pass that failed
                copy.grad = None

    def move_gradients(self) -> None:
        """Add the copies' gradients to the weights', which sum micro-batches in float32."""
        for weight, copy in self.copies.items():
            if copy.grad is None:
                continue
            if weight.grad is None:
                weight.grad = copy.grad.float()
            else:
                weight.grad.add_(copy.grad)
            copy.grad = None

    @torch.no_grad()
    def write(self) -> None:
        """Round the weights to the copies, after an update or a load."""
        if self.copies:
            torch._foreach_copy_(list(self.copies.values()), list(self.copies))
