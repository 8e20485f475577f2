"""Steps whose loss or gradient is NaN or infinite: they change no weight, their batches are saved, a few end training.

A step is judged when the next one is on its way, so that a GPU never waits for it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.weights import save_weights
from whisper_er.batch import Batch
from whisper_er.process import distributed

IN_A_ROW = 3  # so many bad steps end training
FOLDER = "bad_steps"  # in the experiment directory


class OnItsWay:
    """A tensor on its way to the CPU. A reader waits for what its device had to do before, not for what came later."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.event = tensor.to("cpu", non_blocking=True), None
        if tensor.device.type == "cuda":
            self.event = torch.cuda.current_stream(tensor.device).record_event()

    def tolist(self) -> list[float]:
        if self.event:
            self.event.synchronize()
        return self.tensor.tolist()


@dataclass
class Step:
    """A step whose values the device may not have computed yet.

    losses_M: of this process's micro-batches; verdict_3: float32, the numbers of processes with a gradient that is not
    finite, with a loss that is not, and that were asked to stop.
    """

    number: int
    batches: list[Batch]
    losses_M: torch.Tensor
    verdict_3: OnItsWay


def count_bad(gradient_norm: torch.Tensor, losses_M: torch.Tensor, stop: bool) -> torch.Tensor:
    """The verdict_3 of a step, summed over the processes; nothing waits for the device."""
    bad = [~gradient_norm.isfinite(), ~losses_M.isfinite().all()]
    verdict_3 = torch.stack([*bad, torch.full_like(bad[0], stop)]).float()
    return distributed.all_sum(verdict_3)


def is_bad(verdict_3: torch.Tensor) -> torch.Tensor:
    """float32 scalar on the device: 1 for a bad step, else 0."""
    return (verdict_3[:2].sum() > 0).float()


class Judge:
    """Reads the verdicts. skipped: number of bad steps; in_a_row: how many of the last steps were bad."""

    def __init__(self, exp_dir: Path, skipped: int = 0, in_a_row: int = 0) -> None:
        self.exp_dir, self.skipped, self.in_a_row = exp_dir, skipped, in_a_row
        self.waiting: list[Step] = []
        self.stop = False  # some process was asked to

    def add(self, step: Step) -> None:
        """Judge the step before, and queue this one."""
        self.finish()
        self.waiting.append(step)

    def finish(self) -> None:
        """Judge the queued step, on all processes alike. UserError for too many bad steps in a row."""
        while self.waiting:
            step = self.waiting.pop()
            gradients, losses, stops = step.verdict_3.tolist()
            self.stop = self.stop or stops > 0
            if not gradients and not losses:
                self.in_a_row = 0
                continue
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            self.tell(step, "loss" if losses else "gradient")

    def tell(self, step: Step, what: str) -> None:
        """Save the batches with a bad loss, or all if only the gradient is bad, and name their utterances."""
        finite = step.losses_M.isfinite().tolist()
        bad_batches = [batch for batch, fine in zip(step.batches, finite) if what == "gradient" or not fine]
        folder = self.exp_dir / FOLDER
        for number, batch in enumerate(bad_batches):
            folder.mkdir(exist_ok=True)
            name = f"step{step.number:06d}.process{distributed.rank()}.{number}.safetensors"
            save_weights(batch.tensors(), folder / name, {"utt_ids": json.dumps(batch.utt_ids)})
        utt_ids = sum(distributed.gather([utt_id for batch in bad_batches for utt_id in batch.utt_ids]), [])
        message = f"step {step.number}: the {what} is not finite on {first_few(utt_ids)}; saved in {folder}"
        if self.in_a_row >= IN_A_ROW:
            raise UserError(
                f"{message}; {self.in_a_row} steps in a row: lower optim.lr or set optim.grad_clip, and look "
                "at these utterances"
            )
        print(f"{message}; the step is skipped ({self.skipped} so far)", flush=True)
