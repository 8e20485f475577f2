"""Training: one linear loop. A step is one optimizer update on batch_size x accum_grad utterances."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

import torch

from whisper_er.base import distributed
from whisper_er.base.device import autocast, reading_processes
from whisper_er.base.errors import UserError
from whisper_er.base.progress import progress_bar
from whisper_er.base.stop import Stopped, StopSignals
from whisper_er.batch import Batch
from whisper_er.config import TrainConfig
from whisper_er.data.dataset import Utterances, bucketed, load
from whisper_er.models.base import Model
from whisper_er.task import main_task
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.train import checkpoints
from whisper_er.train.bad_steps import Judge, Step, count_bad, is_bad
from whisper_er.train.experiment import STATE, UNTRAINED
from whisper_er.train.optimizer import make_optimizer
from whisper_er.train.parallel import gather_whole, spread, whole, without_exchange
from whisper_er.train.train_log import Sums, TrainLog
from whisper_er.train.training_state import TrainingState, collect, put_back, read_state, save_state, usable_state
from whisper_er.train.validation import Validation, validate
from whisper_er.train.weights import clear_half_written, save_weights

T = TypeVar("T")
RANK_STRIDE = 1_000_000_007  # between the seeds of two processes in one step


@dataclass
class Progress:
    """Where training stands. best: kept checkpoints as {step, accuracy, loss}, the best first."""

    step: int = 0
    best: list[dict] = field(default_factory=list)
    since_better: int = 0  # validations
    validated: int = 0  # the step of the last validation
    finished: str = ""  # why training ended


class Trainer:
    """Everything that a step changes, and where it is kept: exp_dir/state.safetensors, checkpoints/, metrics.jsonl."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, config: TrainConfig, exp_dir: Path, device: torch.device
    ) -> None:
        self.model, self.tokenizer, self.config, self.exp_dir, self.device = model, tokenizer, config, exp_dir, device
        self.task_names = [task.name for task in tokenizer.tasks]
        self.selecting = config.valid_task or main_task(tokenizer.tasks).name
        if self.selecting not in self.task_names:
            raise UserError(f"valid_task: '{self.selecting}' is not a task; allowed: {' '.join(self.task_names)}")
        if distributed.world_size() > config.batch_size:
            raise UserError(
                f"batch_size: {config.batch_size} utterances cannot be shared by "
                f"{distributed.world_size()} processes; raise it, or lower accum_grad in its favour"
            )
        self.parallel = spread(model, config.parallel)
        self.optimizer = make_optimizer(model, config.optim)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, "max", factor=config.optim.plateau_factor, patience=config.optim.plateau_patience
        )
        self.progress, self.judge, self.sums = Progress(), Judge(exp_dir), Sums(0)

    def run(self, train: Utterances, valid: Utterances) -> str:
        """Train until max_steps (0: not at all) or no improvement; returns why it ended. Stopped if asked to stop."""
        (self.exp_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
        resumed = self.resume()
        log = TrainLog(self.exp_dir, self.progress.step)
        log.say(resumed)
        if self.config.max_steps == 0 and not self.progress.finished:
            self.keep_untrained()
        bar = progress_bar(self.config.max_steps, "step", self.progress.step)
        self.model.train()
        batches = timed(self.steps(train))
        with StopSignals() as signals:
            while not self.progress.finished:
                if self.validation_is_due():
                    self.judge.finish()
                    result = validate(self.model, valid, self.tokenizer, self.config, self.device, signals.received)
                    if result is None:
                        self.stop(signals)
                    self.after_validation(result, log)
                    continue
                (micro_batches, size), waited = next(batches)
                self.sums.waited += waited
                self.judge.add(self.step(micro_batches, size, self.sums, signals.received()))
                bar.update()
                if self.progress.step % self.config.log_interval == 0:
                    self.report(log)
                    self.sums = Sums(self.progress.step)
                if self.judge.stop:
                    self.judge.finish()
                    self.stop(signals)
        bar.close()
        log.close()
        return self.progress.finished

    def validation_is_due(self) -> bool:
        step = self.progress.step
        return step > self.progress.validated and (
            step % self.config.valid_interval == 0 or step == self.config.max_steps
        )

    def stop(self, signals: StopSignals) -> NoReturn:
        """Save, between two validations, and end. All processes come here together, also if one alone was asked."""
        self.save_state()
        raise Stopped(max(distributed.gather(signals.number)), self.progress.step)

    def steps(self, train: Utterances) -> Iterator[tuple[list[Batch], int]]:
        """This process's batches of each step and the number of utterances in the step, until training has ended.

        The plan of an epoch depends on the seed and the epoch alone, so a resumed run goes on as if it had not stopped,
        on any number of processes: they share the utterances of every forward pass. One that gets none has the first
        batch without anything to learn from it, since all of them have to take part.
        """
        small, positions = self.config.batch_size, self.model.max_target
        rank, processes = distributed.rank(), distributed.world_size()
        per_epoch = math.ceil(len(train) / (small * self.config.accum_grad))
        while not self.progress.finished:
            epoch, done = divmod(self.progress.step, per_epoch)
            plan = bucketed(train.num_samples_N, small * self.config.accum_grad, self.seed(epoch))[done:]
            parts = [[step[i : i + small] for i in range(0, len(step), small)] for step in plan]
            mine = [[part[rank::processes] for part in step] for step in parts]
            flat = [own or part[:1] for step, own_parts in zip(parts, mine) for part, own in zip(step, own_parts)]
            workers = reading_processes(self.config.num_workers, self.device)
            batches = load(train, flat, self.tokenizer, positions, workers, self.device)
            for own_parts, indices in zip(mine, plan):
                yield [next(batches) if own else next(batches).silenced() for own in own_parts], len(indices)

    def step(self, micro_batches: list[Batch], size: int, sums: Sums, stop: bool = False) -> Step:
        """One optimizer update; the loss is the mean over the `size` utterances of all micro-batches and processes.

        Nothing here may read a value from the device: a GPU still works on this step while the next one is prepared.
        Where loss or gradient is not finite, the weights and the optimizer stay as they are.
        """
        # Dropout and SpecAugment, without a state to save; each process draws its own.
        torch.manual_seed(self.seed(self.progress.step) + distributed.rank() * RANK_STRIDE)
        self.warm_up()
        outputs = []
        for number, batch in enumerate(micro_batches, start=1):
            last = number == len(micro_batches)
            with nullcontext() if last else without_exchange(self.parallel):
                with autocast(self.device, self.config.dtype):
                    outputs.append(self.parallel(batch.to(self.device)))
                # The mean over the processes is what comes out of backward, the sum what is wanted.
                (outputs[-1].loss * distributed.world_size() / size).backward()
        norm = self.clip_gradients()
        losses_M = torch.stack([output.loss.detach() for output in outputs])
        verdict_3 = count_bad(norm, losses_M, stop)
        # The fused optimizer reads it on the device, as it does for torch's GradScaler.
        self.optimizer.found_inf = is_bad(verdict_3)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        sums.add(outputs, size, self.optimizer.found_inf)
        return Step(self.progress.step, micro_batches, losses_M, verdict_3)

    def clip_gradients(self) -> torch.Tensor:
        """The norm of the whole gradient, before it is cut to optim.grad_clip."""
        gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.optim.grad_clip:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.config.optim.grad_clip, norm)
        return whole(norm)

    def seed(self, number: int) -> int:
        """A seed of its own for each epoch or step of each run."""
        return self.config.seed * 1_000_003 + number

    def warm_up(self) -> None:
        """Raise the learning rate linearly over the first warmup_steps; from then on the scheduler has it."""
        share = (self.progress.step + 1) / max(self.config.optim.warmup_steps, 1)
        if self.progress.step < self.config.optim.warmup_steps:
            for group in self.optimizer.param_groups:
                group["lr"] = group["full_lr"] * share

    def report(self, log: TrainLog) -> None:
        """The means since the last report, the learning rate, and how fast it goes."""
        sums, step, last = self.sums, self.progress.step, self.config.max_steps
        values = sums.means(self.task_names)
        seconds, lr = time.monotonic() - sums.start, self.optimizer.param_groups[0]["lr"]
        left = (last - step) * seconds / (step - sums.first_step)  # without validations
        text = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        rate, waiting = sums.utterances / seconds, sums.waited / seconds
        log.say(
            f"step {step}/{last} {text} lr {lr:.3g} {rate:.1f} utt/s, {waiting:.1%} of the time waiting for data, "
            f"about {left / 60:.1f} min left"
        )
        log.record(step, "train", values, lr=lr, utterances_per_second=rate, waiting_for_data=waiting)

    def after_validation(self, result: Validation, log: TrainLog) -> None:
        """Keep the checkpoint if it is among the n best, lower the learning rate or stop if nothing improves, save."""
        progress, selected = self.progress, result.accuracy[self.selecting]
        selected = selected if math.isfinite(selected) else -math.inf
        better = not progress.best or selected > progress.best[0]["accuracy"]
        progress.since_better = 0 if better else progress.since_better + 1
        progress.validated = progress.step
        self.scheduler.step(selected)
        entry = {"step": progress.step, "accuracy": selected, "loss": result.loss}
        # Among equal accuracies the lower validation loss is the better one.
        ranked = sorted([*progress.best, entry], key=lambda item: (-item["accuracy"], item["loss"]))
        progress.best = ranked[: self.config.n_best]
        if entry in progress.best:
            self.save_checkpoint(entry)
        if progress.step >= self.config.max_steps:
            progress.finished = f"max_steps={self.config.max_steps} reached"
        elif progress.since_better >= self.config.patience:
            progress.finished = f"no improvement in {self.config.patience} validations"
        if progress.finished and self.judge.skipped:
            progress.finished += f", {self.judge.skipped} steps skipped"
        text = " ".join(f"{name} {value:.4f}" for name, value in result.accuracy.items())
        log.say(f"step {progress.step} validation: loss {result.loss:.4f} accuracy: {text}{' (best so far)' * better}")
        # Recorded before it is saved: a run that is killed in between repeats this validation and removes the record.
        accuracies = {f"accuracy_{name}": value for name, value in result.accuracy.items()}
        log.record(progress.step, "valid", {"loss": result.loss, **accuracies})
        self.sums = Sums(progress.step)
        self.save_state()

    def keep_untrained(self) -> None:
        """The model as it was loaded becomes the one checkpoint; nothing selects it."""
        self.progress.finished, self.progress.best = "max_steps=0", [{"step": 0, "accuracy": None, "loss": None}]
        self.save_checkpoint(self.progress.best[0])
        self.save_state()

    def save_checkpoint(self, entry: dict) -> None:
        weights = gather_whole(self.model.state_dict())
        if distributed.is_main():
            save_weights(weights, checkpoints.checkpoint(self.exp_dir, entry))

    def save_state(self) -> None:
        """All that a step changes, then what averaging reads. A run that is killed in between does the rest later."""
        tensors, groups = collect(self.model, self.optimizer)
        values = {
            "optimizer": groups,
            "scheduler": self.scheduler.state_dict(),
            "progress": asdict(self.progress),
            "bad_steps": [self.judge.skipped, self.judge.in_a_row],
            "sums": self.sums.state(),
        }
        if distributed.is_main():
            save_state(self.exp_dir / STATE, tensors, values)
            self.list_best()

    def list_best(self) -> None:
        metric = f"valid_{self.selecting}_accuracy" if self.config.max_steps else UNTRAINED
        checkpoints.list_best(
            self.exp_dir,
            {
                "metric": metric,
                "n_best": self.config.n_best,
                "finished": self.progress.finished,
                "best": self.progress.best,
            },
        )

    def resume(self) -> str:
        """Go on from the saved state if there is one; returns what to say. Checkpoints after it are removed."""
        path = self.exp_dir / STATE
        if distributed.is_main():
            clear_half_written(self.exp_dir)
            for stray in () if path.is_file() else checkpoints.checkpoints(self.exp_dir):
                stray.unlink()  # from before the first state
        if not distributed.from_main(path.is_file()):
            return "starting at step 0"
        usable = usable_state(path) if distributed.is_main() else (None, None)
        name, warning = distributed.from_main([usable[0] and usable[0].name, usable[1]])
        state = read_state(self.exp_dir / name)
        self.restore(state)
        if distributed.is_main():
            if warning:
                os.replace(self.exp_dir / name, path)
            self.list_best()
        ended = f", {self.progress.finished}" if self.progress.finished else ""
        said = f"resumed from {self.exp_dir / name} at step {self.progress.step}{ended}"
        return f"warning: {warning}; {said}" if warning else said

    def restore(self, state: TrainingState) -> None:
        put_back(state, self.model, self.optimizer)
        self.scheduler.load_state_dict(state.values["scheduler"])
        self.progress = Progress(**state.values["progress"])
        self.judge = Judge(self.exp_dir, *state.values["bad_steps"])
        self.sums = Sums.restored(state.values["sums"], self.device)


def timed(items: Iterator[T]) -> Iterator[tuple[T, float]]:
    """Each item with the seconds that it took to come."""
    start = time.monotonic()
    for item in items:
        yield item, time.monotonic() - start
        start = time.monotonic()
