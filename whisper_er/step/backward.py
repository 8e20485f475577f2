"""The gradient of a step: its passes by CUDA graphs or kernel by kernel, on one process or several."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import torch

from whisper_er.batch import Batch
from whisper_er.config import TrainConfig
from whisper_er.graphs.captured import CaptureFailed
from whisper_er.graphs.passes import passes
from whisper_er.models.base import Model, Output
from whisper_er.process import distributed
from whisper_er.process.device import autocast
from whisper_er.process.memory import tells
from whisper_er.step.bfloat16_copies import Bfloat16Copies
from whisper_er.step.parallel import average_gradients, copy_from_main, spread, without_exchange

T = TypeVar("T")
RANK_STRIDE = 1_000_000_007  # between the seeds of two processes in one step


class Backward:
    """Called with the micro-batches of a step, it adds the gradient to the weights' `.grad`: of the mean loss over the
    utterances of all micro-batches and processes.

    Make it before the optimizer, which needs the parameters as FSDP leaves them. graphs: None where every kernel is
    launched by itself; they know the gradients by their place in memory, which zeroing must then leave.
    """

    def __init__(self, model: Model, config: TrainConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device
        copy_from_main(model)
        self.copies = Bfloat16Copies(model.modules() if config.bfloat16_weights else ())
        self.graphs = passes(model, config, device, self.copies.in_use)
        # A process that cannot capture goes on among others that can, hence for good without DDP.
        self.exchanges_behind = self.graphs is not None
        with self.copies.in_use():  # DDP exchanges the gradients of the weights that it finds
            self.parallel = model if self.exchanges_behind else spread(model, config.parallel)

    def __call__(self, micro_batches: Sequence[Batch], size: int, seed: int) -> list[Output]:
        """What the model does with each micro-batch. size: utterances of the step, of all processes; seed: for dropout
        and SpecAugment, without a generator's state to save; each process draws its own."""
        self.seed = seed + distributed.rank() * RANK_STRIDE
        outputs = self.beside_graphs(partial(self.run_passes, micro_batches, size))
        if self.exchanges_behind:
            average_gradients(self.model)
        return outputs

    def beside_graphs(self, call: Callable[[], T]) -> T:
        """What the call returns. Graphs hold memory that without them were free: where that is missed, they leave, are
        captured again as they are met, and the call is made anew."""
        try:
            return call()
        except RuntimeError as error:
            if not self.graphs:
                raise
            if not tells(error):
                print("graphs: with graphs=off every kernel is launched by itself", flush=True)
                raise
        print("graphs: beside them memory does not suffice; they leave, and are captured again", flush=True)
        self.graphs.captured.release()
        self.model.release()
        self.model.zero_grad(set_to_none=True)  # of passes that were made
        return call()

    def run_passes(self, micro_batches: Sequence[Batch], size: int) -> list[Output]:
        torch.manual_seed(self.seed)
        last = len(micro_batches) - 1
        return [
            self.replay(batch, size) or self.run_pass(batch, size, number == last)
            for number, batch in enumerate(micro_batches)
        ]

    def run_pass(self, batch: Batch, size: int, is_last: bool) -> Output:
        """Forward and backward pass of a micro-batch, on all processes together."""
        # DDP would sum the copies' gradients of several passes in bfloat16, so it exchanges each.
        exchange = is_last or self.config.bfloat16_weights
        with self.copies.in_use(), nullcontext() if exchange else without_exchange(self.parallel):
            with autocast(self.device, self.config.dtype):
                output = self.parallel(batch.to(self.device))
            # What is exchanged becomes the mean over the processes; the step needs the sum.
            (output.loss * distributed.world_size() / size).backward()
        return output

    def replay(self, batch: Batch, size: int) -> Output | None:
        """The same by a CUDA graph, filled up to one of its shapes; None where there are no graphs."""
        if not self.graphs:
            return None
        try:
            return Output(**self.graphs(batch, distributed.world_size() / size))
        except CaptureFailed as error:
            print(f"graphs: {error}; from here on every kernel is launched by itself", flush=True)
            self.graphs = None
            torch.manual_seed(self.seed)  # the generator was replaced
            return None
