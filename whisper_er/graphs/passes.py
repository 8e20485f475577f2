"""Forward and backward pass of a training batch as CUDA graphs, one for each of the shapes that batches are brought to.

Clipping and AdamW follow kernel by kernel: some tens of launches, beside the 1,500 of a pass of whisper-base. Gradients
keep their place: to zero them and to add to them moves 16 bytes a parameter more than to make them anew.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from whisper_er.batch import Batch
from whisper_er.config import TrainConfig
from whisper_er.graphs.captured import Captured, Tensors
from whisper_er.graphs.shapes import rounded
from whisper_er.process import distributed
from whisper_er.process.device import autocast

Weights = Callable[[], AbstractContextManager]
MOST = 128  # graphs; see shapes.py for how many shapes there are


class Passes:
    """Called with a batch, it adds the gradient of its loss x weight to `.grad` of the parameters, which the caller has
    to zero in place, and returns what the model does. Dropout and SpecAugment are drawn from the device's default
    generator, which every replay asks anew.

    model: a Model (models/base.py); weights: what a pass runs within, such as other weights in their places.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        config: TrainConfig,
        device: torch.device,
        weights: Weights = nullcontext,
        rehearse: bool = False,
    ) -> None:
        self.model, self.config, self.device, self.weights = model, config, device, weights
        self.captured = Captured(self.run, device, MOST, rehearse)
        # One compilation for all shapes: for each shape one (dynamic=False) would take longer than it saves, and torch
        # stops after eight.
        layers = [layer for stack in model.stacks().values() for layer in stack.layers] if config.compile else []
        self.compiled = {layer: torch.compile(layer.forward, dynamic=True) for layer in layers}

    def __call__(self, batch: Batch, weight: float) -> Tensors:
        """batch: on the CPU."""
        encoder = self.model.audio_encoder
        encoder.drawn = encoder.draw_pad()  # on the CPU, so it is part of what graph is taken
        samples = encoder.drawn.round_up(batch.wave_BS.shape[1])
        self.batch = rounded(batch.to(self.device), samples, self.model.max_target)
        inputs = self.batch.tensors() | {
            "samples_B": batch.samples_B.to(self.device, non_blocking=True),
            "weight": torch.full((), weight, device=self.device),
        }
        try:
            outputs = self.captured(inputs, encoder.drawn)
        finally:
            encoder.drawn = None
        return {name: tensor.clone() for name, tensor in outputs.items()}  # the next replay overwrites them

    def run(self, inputs: Tensors) -> Tensors:
        """What is captured. inputs: the tensors of a batch, and the weight of its loss."""
        weight = inputs["weight"]
        batch = self.batch.having(**{name: tensor for name, tensor in inputs.items() if name != "weight"})
        # Each use of a weight is cast anew: casts that were kept would belong to another graph.
        with self.weights(), forwards(self.compiled):
            with autocast(self.device, self.config.dtype, cache_enabled=False):
                output = self.model(batch)
            (output.loss * weight).backward()
        return {name: tensor.detach() for name, tensor in output._asdict().items()}


def passes(
    model: torch.nn.Module, config: TrainConfig, device: torch.device, weights: Weights = nullcontext
) -> Passes | None:
    """None where training goes on eagerly; where that is not as it was asked for, a line says why."""
    if device.type != "cuda":
        obstacle = "there is no GPU"
    elif config.graphs == "off":
        obstacle = "graphs=off"
    else:
        obstacle = obstacle_to_graphs(model, config)
    if not obstacle:
        return Passes(model, config, device, weights)
    if distributed.is_main():
        if device.type == "cuda" and config.graphs == "auto":
            print(f"graphs: {obstacle}, so every kernel is launched by itself", flush=True)
        if config.compile:
            print(f"compile: {obstacle}, and layers are compiled for graphs alone: they are not compiled", flush=True)
    return None


def obstacle_to_graphs(model: torch.nn.Module, config: TrainConfig) -> str:
    """Why a GPU cannot take the passes of this training as graphs; empty if it can."""
    if distributed.world_size() > 1 and config.parallel == "fsdp":
        return "parallel=fsdp gathers the weights of each layer within the pass"
    if config.activation_checkpointing:
        return "activation_checkpointing reads the state of the random numbers"
    if getattr(model.backbone_config, "layerdrop", 0) > 0:
        return "this encoder leaves out layers at random (layerdrop)"
    return ""


@contextmanager
def forwards(functions: dict[torch.nn.Module, Callable]) -> Iterator[None]:
    """Other forward passes of modules: validation and decoding, of other shapes and without gradients, are not
    compiled."""
    for module, function in functions.items():
        module.forward = function
    try:
        yield
    finally:
        for module in functions:
            del module.forward
