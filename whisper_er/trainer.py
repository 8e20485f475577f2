"""Training: one linear loop. A step is one optimizer update on batch_size x accum_grad utterances."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from whisper_er.atomic import write_text
from whisper_er.batch import Batch
from whisper_er.checkpoint import load_state, save_state, save_weights
from whisper_er.config import TrainConfig
from whisper_er.dataset import Utterances, bucketed, load
from whisper_er.device import autocast, reading_processes
from whisper_er.errors import UserError
from whisper_er.experiment import BEST, STATE, UNTRAINED
from whisper_er.models.base import Model
from whisper_er.optimizer import make_optimizer
from whisper_er.progress import progress_bar
from whisper_er.tokenizer import Tokenizer
from whisper_er.train_log import Sums, TrainLog
from whisper_er.validation import Validation, selecting_task, validate

T = TypeVar("T")


@dataclass
class Progress:
    """Where training stands. best: kept checkpoints as {step, accuracy, loss}, the best first."""

    step: int = 0
    best: list[dict] = field(default_factory=list)
    since_better: int = 0  # validations
    finished: str = ""  # why training ended


class Trainer:
    """Everything that a step changes, and where it is kept: exp_dir/state.pt, checkpoints/, metrics.jsonl."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, config: TrainConfig, exp_dir: Path, device: torch.device
    ) -> None:
        self.model, self.tokenizer, self.config, self.exp_dir, self.device = model, tokenizer, config, exp_dir, device
        self.task_names = [task.name for task in tokenizer.tasks]
        self.selecting = selecting_task(tokenizer.tasks, config.valid_task)
        if self.selecting not in self.task_names:
            raise UserError(f"valid_task: '{self.selecting}' is not a task; allowed: {' '.join(self.task_names)}")
        self.optimizer = make_optimizer(model, config.optim)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, "max", factor=config.optim.plateau_factor, patience=config.optim.plateau_patience
        )
        self.progress = Progress()

    def run(self, train: Utterances, valid: Utterances) -> str:
        """Train until max_steps (0: not at all) or no improvement; returns why it ended."""
        (self.exp_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
        resumed = self.resume()
        log = TrainLog(self.exp_dir, self.progress.step)
        log.say(resumed)
        if self.config.max_steps == 0 and not self.progress.finished:
            self.keep_untrained()
        sums = Sums(self.progress.step)
        bar = progress_bar(self.config.max_steps, "step", self.progress.step)
        self.model.train()
        for (micro_batches, size), waited in timed(self.steps(train)):
            sums.waited += waited
            self.step(micro_batches, size, sums)
            bar.update()
            step = self.progress.step
            if step % self.config.log_interval == 0:
                self.report(log, sums)
                sums = Sums(step)
            if step % self.config.valid_interval == 0 or step == self.config.max_steps:
                sums.check_finite()
                result = validate(self.model, valid, self.tokenizer, self.config, self.device)
                self.after_validation(result, log)
                if self.progress.finished:
                    break
                sums = Sums(step)  # a resumed run starts here, and is to log the same
        bar.close()
        log.close()
        return self.progress.finished

    def steps(self, train: Utterances):
        """The batches of each step and the number of utterances in them, from where training stands until it has ended.

        The plan of an epoch depends on the seed and the epoch alone, so a resumed run goes on as if it had not stopped.
        """
        small, positions = self.config.batch_size, self.model.max_target
        per_epoch = math.ceil(len(train) / (small * self.config.accum_grad))
        while not self.progress.finished:
            epoch, done = divmod(self.progress.step, per_epoch)
            plan = bucketed(train.num_samples_N, small * self.config.accum_grad, self.seed(epoch))[done:]
            parts = [[step[i : i + small] for i in range(0, len(step), small)] for step in plan]
            flat = [part for step in parts for part in step]
            processes = reading_processes(self.config.num_workers, self.device)
            batches = load(train, flat, self.tokenizer, positions, processes, self.device)
            for step, indices in zip(parts, plan):
                yield [next(batches) for _ in step], len(indices)

    def step(self, micro_batches: list[Batch], size: int, sums: Sums) -> None:
        """One optimizer update; the loss is the mean over the `size` utterances of all micro-batches.

        Nothing here may read a value from the device: a GPU still works on this step while the next one is prepared.
        """
        torch.manual_seed(self.seed(self.progress.step))  # dropout and SpecAugment, without a state to save
        self.warm_up()
        for batch in micro_batches:
            with autocast(self.device, self.config.dtype):
                output = self.model(batch.to(self.device))
            (output.loss / size).backward()
            sums.add(self.progress.step + 1, output, batch.utt_ids)
        if self.config.optim.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1

    def seed(self, number: int) -> int:
        """A seed of its own for each epoch or step of each run."""
        return self.config.seed * 1_000_003 + number

    def warm_up(self) -> None:
        """Raise the learning rate linearly over the first warmup_steps; from then on the scheduler has it."""
        share = (self.progress.step + 1) / max(self.config.optim.warmup_steps, 1)
        if self.progress.step < self.config.optim.warmup_steps:
            for group in self.optimizer.param_groups:
                group["lr"] = group["full_lr"] * share

    def report(self, log: TrainLog, sums: Sums) -> None:
        """The means since the last report, the learning rate, and how fast it goes."""
        sums.check_finite()
        step, last, values = self.progress.step, self.config.max_steps, sums.means(self.task_names)
        seconds, lr = time.monotonic() - sums.start, self.optimizer.param_groups[0]["lr"]
        left = (last - step) * seconds / (step - sums.first_step)  # without validations
        text = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        rate, waiting = sums.num_utterances() / seconds, sums.waited / seconds
        log.say(f"step {step}/{last} {text} lr {lr:.3g} {rate:.1f} utt/s, {waiting:.1%} of the time waiting for data, "
                f"about {left / 60:.1f} min left")
        log.record(step, "train", values, lr=lr, utterances_per_second=rate, waiting_for_data=waiting)

    def after_validation(self, result: Validation, log: TrainLog) -> None:
        """Keep the checkpoint if it is among the n best, lower the learning rate or stop if nothing improves, save."""
        progress, selected = self.progress, result.accuracy[self.selecting]
        selected = selected if math.isfinite(selected) else -math.inf
        better = not progress.best or selected > progress.best[0]["accuracy"]
        progress.since_better = 0 if better else progress.since_better + 1
        self.scheduler.step(selected)
        entry = {"step": progress.step, "accuracy": selected, "loss": result.loss}
        # Among equal accuracies the lower validation loss is the better one.
        ranked = sorted([*progress.best, entry], key=lambda item: (-item["accuracy"], item["loss"]))
        progress.best, dropped = ranked[: self.config.n_best], ranked[self.config.n_best :]
        if entry in progress.best:
            save_weights(self.model.state_dict(), self.checkpoint(entry))
        if progress.step >= self.config.max_steps:
            progress.finished = f"max_steps={self.config.max_steps} reached"
        elif progress.since_better >= self.config.patience:
            progress.finished = f"no improvement in {self.config.patience} validations"
        text = " ".join(f"{name} {value:.4f}" for name, value in result.accuracy.items())
        log.say(f"step {progress.step} validation: loss {result.loss:.4f} accuracy: {text}{' (best so far)' * better}")
        # Recorded before it is saved: a run that is killed in between repeats this validation and removes the record.
        accuracies = {f"accuracy_{name}": value for name, value in result.accuracy.items()}
        log.record(progress.step, "valid", {"loss": result.loss, **accuracies})
        self.save_state()
        for item in dropped:
            self.checkpoint(item).unlink(missing_ok=True)
        self.list_best()

    def keep_untrained(self) -> None:
        """The model as it was loaded becomes the one checkpoint; nothing selects it."""
        self.progress.finished, self.progress.best = "max_steps=0", [{"step": 0, "accuracy": None, "loss": None}]
        save_weights(self.model.state_dict(), self.checkpoint(self.progress.best[0]))
        self.save_state()
        self.list_best()

    def checkpoint(self, entry: dict) -> Path:
        return self.exp_dir / "checkpoints" / f"step{entry['step']:06d}.safetensors"

    def save_state(self) -> None:
        """All that a step changes. A run that is killed after it does the rest of the validation when it resumes."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "progress": asdict(self.progress),
        }
        save_state(state, self.exp_dir / STATE)

    def list_best(self) -> None:
        """What averaging reads."""
        best = {
            "metric": f"valid_{self.selecting}_accuracy" if self.config.max_steps else UNTRAINED,
            "n_best": self.config.n_best,
            "finished": self.progress.finished,
            "best": self.progress.best,
        }
        write_text(self.exp_dir / BEST, json.dumps(best, indent=1) + "\n")

    def resume(self) -> str:
        """Go on from state.pt if there is one; returns what to say about it. Checkpoints after it are removed."""
        said = "starting at step 0"
        path = self.exp_dir / STATE
        if path.is_file():
            state = load_state(path)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.progress = Progress(**state["progress"])
            ended = f", {self.progress.finished}" if self.progress.finished else ""
            said = f"resumed from {path} at step {self.progress.step}{ended}"
        kept = {self.checkpoint(entry) for entry in self.progress.best}
        for stray in set((self.exp_dir / "checkpoints").glob("step*.safetensors")) - kept:
            stray.unlink()
        if path.is_file():
            self.list_best()
        return said


def timed(items: Iterator[T]) -> Iterator[tuple[T, float]]:
    """Each item with the seconds that it took to come."""
    start = time.monotonic()
    for item in items:
        yield item, time.monotonic() - start
        start = time.monotonic()
