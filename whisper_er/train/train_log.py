"""The log of a training: lines on standard output, metrics.jsonl, TensorBoard."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from whisper_er.base.files import write_text
from whisper_er.models.base import Output
from whisper_er.process import distributed
from whisper_er.train.validation import Validation


class TrainLog:
    """Opened at a step of training; records after it are removed, since training repeats these steps.

    The main process writes it; in the others nothing happens.
    """

    def __init__(self, exp_dir: Path, step: int) -> None:
        self.path, self.writer = exp_dir / "metrics.jsonl", None
        if not distributed.is_main():
            return
        if self.path.is_file():
            lines = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            write_text(self.path, "".join(line for line in lines if json.loads(line)["step"] <= step))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # an extra of the package
            self.say("tensorboard is not installed: its event files are not written (whisper_er[viz])")
        else:
            self.writer = SummaryWriter(str(exp_dir / "tensorboard"), purge_step=step + 1)

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def record(self, step: int, kind: str, values: dict[str, float], **extra: float) -> None:
        """One line of metrics.jsonl, and a curve <kind>/<name> in TensorBoard for each value and `extra`."""
        if not distributed.is_main():
            return
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, kind: values, **extra}) + "\n")
        values = values | extra
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(f"{kind}/{name}", value, step)
            self.writer.flush()

    def validation(self, step: int, result: Validation, better: bool) -> None:
        """A line, a warning for each task whose answers are all the same, and a record. better: best so far."""
        text, values = f"loss {result.loss:.4f}", {"loss": result.loss}
        for title, key, by_task in (("accuracy", "accuracy", result.accuracy), ("UA", "ua", result.ua)):
            if by_task:
                text += f" {title}: " + " ".join(f"{name} {value:.4f}" for name, value in by_task.items())
                values |= {f"{key}_{name}": value for name, value in by_task.items()}
        self.say(f"step {step} validation: {text}{' (best so far)' * better}")
        for collapse in result.collapses:
            self.say(f"warning: validation at step {step}: {collapse}")
        self.record(step, "valid", values)

    def close(self) -> None:
        if self.writer:
            self.writer.close()


class Sums:
    """Sums since the last log line or validation, on the device; nothing waits for it until they are read.

    numbers: float64, of this process: utterances (in the main process all), loss, and per task nats and tokens; None
    before the first step.
    """

    def __init__(self, first_step: int) -> None:
        self.first_step, self.start = first_step, time.monotonic()
        self.waited = 0.0  # seconds in which training had no batch to work on
        self.utterances = 0  # of all processes, also in skipped steps: for the rate
        self.numbers: torch.Tensor | None = None

    def add(self, outputs: Sequence[Output], size: int, skipped: torch.Tensor) -> None:
        """Add a step. size: utterances, of all processes; skipped: 1 to leave it out, else 0, on the device."""
        self.utterances += size
        step = sum(torch.cat([output.loss.detach()[None], output.nll_K, output.count_K]).double() for output in outputs)
        step = torch.cat([torch.full_like(step[:1], size if distributed.is_main() else 0), step])
        step = torch.where(skipped > 0, 0.0, step)
        self.numbers = step if self.numbers is None else self.numbers + step

    def means(self, names: Sequence[str]) -> dict[str, float]:
        """loss: nats per utterance; loss_<task>: nats per token of the task, loss_distil: per utterance. Every process
        has to call it. names: of the tasks, and distil where a teacher's term is behind them."""
        utterances, loss, *rest = self.total()
        nll_K, count_K = rest[: len(names)], rest[len(names) :]
        per_task = {f"loss_{name}": nll / max(count, 1) for name, nll, count in zip(names, nll_K, count_K)}
        return {"loss": loss / max(utterances, 1), **per_task}

    def total(self) -> list[float]:
        return distributed.all_sum(self.numbers.clone()).tolist()

    def state(self) -> dict[str, Any]:
        """The sums as plain values, for `restored`."""
        numbers = None if self.numbers is None else self.total()
        return {
            "first_step": self.first_step,
            "seconds": time.monotonic() - self.start,
            "waited": self.waited,
            "utterances": self.utterances,
            "numbers": numbers,
        }

    @staticmethod
    def restored(state: dict[str, Any], device: torch.device) -> "Sums":
        """The sums of a saved state; the main process gets those of all processes."""
        sums = Sums(state["first_step"])
        sums.start -= state["seconds"]
        sums.waited, sums.utterances = state["waited"], state["utterances"]
        if state["numbers"] is not None and distributed.is_main():
            sums.numbers = torch.tensor(state["numbers"], dtype=torch.float64, device=device)
        elif state["numbers"] is not None:
            sums.numbers = torch.zeros(len(state["numbers"]), dtype=torch.float64, device=device)
        return sums
