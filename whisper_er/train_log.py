"""What a training run reports: plain lines, metrics.jsonl and TensorBoard."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from whisper_er.atomic import write_text
from whisper_er.errors import UserError, first_few
from whisper_er.models.base import Output


class TrainLog:
    """Open at the step that training stands at: what was recorded after it is repeated, and so removed first."""

    def __init__(self, exp_dir: Path, step: int) -> None:
        self.path = exp_dir / "metrics.jsonl"
        if self.path.is_file():
            lines = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            write_text(self.path, "".join(line for line in lines if json.loads(line)["step"] <= step))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # an extra of the package
            self.writer = None
            self.say("tensorboard is not installed: its event files are not written (whisper_er[viz])")
        else:
            self.writer = SummaryWriter(str(exp_dir / "tensorboard"), purge_step=step + 1)

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def record(self, step: int, kind: str, values: dict[str, float], **beside: float) -> None:
        """One line of metrics.jsonl, and a curve <kind>/<name> in TensorBoard for each value and what is `beside`."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, kind: values, **beside}) + "\n")
        values = values | beside
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(f"{kind}/{name}", value, step)
            self.writer.flush()

    def close(self) -> None:
        if self.writer:
            self.writer.close()


class Sums:
    """What is logged, since the last log line or validation; until it is asked for nothing waits for the device."""

    def __init__(self, first_step: int) -> None:
        self.first_step, self.start = first_step, time.monotonic()
        self.waited = 0.0  # seconds in which training had no batch to work on
        self.outputs: list[tuple[int, list[str], torch.Tensor]] = []  # step, utt_ids, loss and sums per task

    def add(self, step: int, output: Output, utt_ids: list[str]) -> None:
        numbers = torch.cat([output.loss.detach()[None], output.nll_K, output.count_K])
        self.outputs.append((step, utt_ids, numbers))

    def check_finite(self) -> None:
        """UserError that names the step and the utterances of the first loss that is NaN or infinite."""
        if not self.outputs:
            return
        for (step, utt_ids, _), loss in zip(self.outputs, self.numbers()[:, 0].tolist()):
            if not math.isfinite(loss):
                raise UserError(
                    f"step {step}: the loss is {loss} on {first_few(utt_ids)}: lower optim.lr or set optim.grad_clip, "
                    "and look at these utterances"
                )

    def means(self, names: Sequence[str]) -> dict[str, float]:
        """loss: nats per utterance; loss_<task>: nats per token of the task."""
        loss, *rest = self.numbers().sum(0).tolist()
        nll_K, count_K = rest[: len(names)], rest[len(names) :]
        per_task = {f"loss_{name}": nll / max(count, 1) for name, nll, count in zip(names, nll_K, count_K)}
        return {"loss": loss / self.num_utterances(), **per_task}

    def numbers(self) -> torch.Tensor:
        """float64 (micro-batches, 1 + 2 K) on the CPU."""
        return torch.stack([numbers for _, _, numbers in self.outputs]).cpu().double()

    def num_utterances(self) -> int:
        return sum(len(utt_ids) for _, utt_ids, _ in self.outputs)
