"""What a training run reports: plain lines, metrics.jsonl and TensorBoard."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from whisper_er.atomic import write_text
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
    """What is logged, summed since the last log line or validation."""

    def __init__(self, num_tasks: int, first_step: int) -> None:
        self.loss, self.utterances, self.start, self.first_step = 0.0, 0, time.monotonic(), first_step
        self.nll_K, self.count_K = torch.zeros(num_tasks), torch.zeros(num_tasks)

    def add(self, output: Output, utterances: int) -> None:
        self.loss += float(output.loss.detach())
        self.utterances += utterances
        self.nll_K += output.nll_K.cpu()
        self.count_K += output.count_K.cpu()

    def means(self, names: Sequence[str]) -> dict[str, float]:
        """loss: nats per utterance; loss_<task>: nats per token of the task."""
        per_task = {f"loss_{name}": float(nll / max(n, 1)) for name, nll, n in zip(names, self.nll_K, self.count_K)}
        return {"loss": self.loss / self.utterances, **per_task}
