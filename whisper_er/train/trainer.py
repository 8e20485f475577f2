"""Training: one linear loop. A step is one optimizer update on batch_size x accum_grad utterances."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

from whisper_er.base.errors import UserError
from whisper_er.base.weights import clear_half_written
from whisper_er.batch import Batch
from whisper_er.config import TrainConfig
from whisper_er.data.augment import augmentation
from whisper_er.data.batches import load
from whisper_er.data.mixing import make_mixing
from whisper_er.data.plan import bucketed, shuffled
from whisper_er.data.sampling import Sampling
from whisper_er.data.shared_memory import SampleCache
from whisper_er.data.utterances import Utterances
from whisper_er.models.base import Model
from whisper_er.process import distributed, torchrun
from whisper_er.process.ahead import GivenUp
from whisper_er.process.device import reading_processes
from whisper_er.process.progress import progress_bar
from whisper_er.process.stop import Stopped, StopSignals, never
from whisper_er.step.backward import Backward
from whisper_er.step.bad_steps import Judge, OnItsWay, Step, count_bad, is_bad
from whisper_er.step.optimizer import make_optimizer
from whisper_er.step.parallel import whole
from whisper_er.step.schedule import SCHEDULES
from whisper_er.task import Task, main_task
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.train import checkpoints
from whisper_er.train.experiment import BEST, STATE, UNTRAINED
from whisper_er.train.saver import Saver
from whisper_er.train.selection import check_metrics, name_of, rank, reason_to_stop, value_of, worth
from whisper_er.train.train_log import Sums, TrainLog
from whisper_er.train.training_state import TrainingState, put_back, read_state, usable_state
from whisper_er.train.validation import Validation, validate

T = TypeVar("T")


@dataclass
class Progress:
    """Where training stands. best: the n best checkpoints as entries of best.json (selection.py), the best first."""

    step: int = 0
    best: list[dict] = field(default_factory=list)
    since_better: int = 0  # validations
    validated: int = 0  # the step of the last validation
    finished: str = ""  # why training ended


class Trainer:
    """Trains a model; all that a step changes is saved in exp_dir: state.safetensors, checkpoints/, metrics.jsonl."""

    def __init__(
        self, model: Model, tokenizer: Tokenizer, config: TrainConfig, exp_dir: Path, device: torch.device
    ) -> None:
        self.model, self.tokenizer, self.config, self.exp_dir, self.device = model, tokenizer, config, exp_dir, device
        self.task_names = [task.name for task in tokenizer.tasks]
        self.valid_task = config.valid_task or main_task(tokenizer.tasks).name
        if self.valid_task not in self.task_names:
            raise UserError(f"valid_task: '{self.valid_task}' is not a task; allowed: {' '.join(self.task_names)}")
        check_metrics(config, tokenizer.tasks[self.task_names.index(self.valid_task)])
        if distributed.world_size() > config.batch_size:
            raise UserError(
                f"batch_size: {config.batch_size} utterances cannot be shared by "
                f"{distributed.world_size()} processes; raise it, or lower accum_grad in its favour"
            )
        check_scale_loss(config, tokenizer.tasks)
        self.backward = Backward(model, config, device)
        self.optimizer = make_optimizer(model, config.optim)
        self.schedule = SCHEDULES[config.optim.schedule](self.optimizer, config.optim, config.max_steps)
        self.augmentation = augmentation(config.augment, config.seed)
        self.progress, self.judge, self.sums = Progress(), Judge(exp_dir), Sums(0)
        self.saver = Saver(model, self.optimizer, device)

    def run(self, train: Utterances, valid: Utterances, sampling: Sampling | None = None) -> str:
        """Train until max_steps (0: not at all) or no improvement; returns why it ended. Raises Stopped on a signal."""
        (self.exp_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
        resumed = self.resume()
        log = TrainLog(self.exp_dir, self.progress.step)
        log.say(resumed)
        if self.config.max_steps == 0 and not self.progress.finished:
            self.keep_untrained()
        if not self.progress.finished:
            minutes = f"{self.config.save_interval:g} minutes"
            log.say(f"a kill costs what is done between two states: {minutes}, and the time to the next validation")
        bar = progress_bar(self.config.max_steps, "step", self.progress.step)
        self.model.train()
        signals = StopSignals()
        batches = timed(self.steps(train, signals.received, sampling))
        with signals, self.saver:
            while not self.progress.finished:
                self.saver.check()
                if self.validation_is_due():
                    self.judge.finish()
                    on_valid = partial(validate, self.model, valid, self.tokenizer, self.config, self.device)
                    result = self.backward.beside_graphs(partial(on_valid, signals.received))
                    if result is None:
                        self.stop(signals)
                    self.after_validation(result, log)
                    continue
                try:
                    (micro_batches, size), waited = next(batches)
                except GivenUp as error:
                    self.give_up(signals, error)
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
        """Save the state and raise Stopped, on all processes together, even if only one was asked to stop."""
        self.save()
        self.saver.wait()
        raise Stopped(max(distributed.gather(signals.number)), self.progress.step)

    def give_up(self, signals: StopSignals, error: GivenUp) -> NoReturn:
        """Stop although the batch of this process is missing. The others may wait for its part of their step, and can
        save nothing together."""
        if distributed.world_size() > 1:
            raise UserError(f"{error}; started again, training goes on from the last state") from None
        print(error, flush=True)
        self.judge.finish()
        self.stop(signals)

    def steps(
        self, train: Utterances, stop: Callable[[], bool] = never, sampling: Sampling | None = None
    ) -> Iterator[tuple[list[Batch], int]]:
        """This process's batches of each step and the number of utterances in the step, until training has ended.

        The plan of an epoch depends on the seed and the epoch alone, so a resumed run goes on as if it had not stopped,
        on any number of processes: they share the utterances of every forward pass. A process without any
        runs the first one silenced, since all of them have to take part.
        """
        batch_size, max_target = self.config.batch_size, self.model.max_target
        draw = bucketed if self.config.bucketing else shuffled
        rank, processes = distributed.rank(), distributed.world_size()
        cache = SampleCache(train.num_samples_N, 1e9 * self.config.cache_gb / torchrun.local_world_size())
        mixing = make_mixing(self.config, train, self.tokenizer.tasks, cache)
        per_epoch = math.ceil(len(train) / (batch_size * self.config.accum_grad))
        while not self.progress.finished:
            epoch, done = divmod(self.progress.step, per_epoch)
            seed, draw_N = self.seed(epoch), sampling and sampling.epoch(self.seed(epoch))
            plan = draw(train.num_samples_N, batch_size * self.config.accum_grad, seed, draw_N)[done:]
            passes = [[step[i : i + batch_size] for i in range(0, len(step), batch_size)] for step in plan]
            shares = [[indices[rank::processes] for indices in step] for step in passes]
            to_load = [share or indices[:1] for pair in zip(passes, shares) for indices, share in zip(*pair)]
            workers = reading_processes(self.config.num_workers, self.device)
            change = self.augmentation(epoch)
            overlay = mixing and mixing.epoch(epoch)
            batches = load(
                train, to_load, self.tokenizer, max_target, workers, self.device, change, cache, stop, overlay
            )
            for step, indices in zip(shares, plan):
                yield [next(batches) if share else next(batches).silenced() for share in step], len(indices)

    def step(self, micro_batches: list[Batch], size: int, sums: Sums, stop: bool = False) -> Step:
        """One optimizer update; the loss is the mean over the `size` utterances of all micro-batches and processes.

        Nothing here may read a value from the device: a GPU still works on this step while the next one is prepared.
        Where loss or gradient is not finite, the weights and the optimizer stay as they are.
        """
        self.schedule.before_step(self.progress.step)
        outputs = self.backward(micro_batches, size, self.seed(self.progress.step))
        norm = self.clip_gradients()
        losses_M = torch.stack([output.loss.detach() for output in outputs])
        verdict_3 = count_bad(norm, losses_M, stop)
        # The fused optimizer reads it on the device, as it does for torch's GradScaler.
        self.optimizer.found_inf = is_bad(verdict_3)
        self.optimizer.step()
        self.backward.copies.write()
        self.optimizer.zero_grad(set_to_none=self.backward.graphs is None)
        self.progress.step += 1
        sums.add(outputs, size, self.optimizer.found_inf)
        return Step(self.progress.step, micro_batches, losses_M, OnItsWay(verdict_3))

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

    def report(self, log: TrainLog) -> None:
        """Log the means since the max_steps report, the learning rate, and the speed."""
        sums, step, max_steps = self.sums, self.progress.step, self.config.max_steps
        values = sums.means([*self.task_names, *(["distil"] if self.config.distil.model else [])])
        seconds, lr = time.monotonic() - sums.start, self.optimizer.param_groups[0]["lr"]
        seconds_left = (max_steps - step) * seconds / (step - sums.first_step)  # without validations
        text = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        rate, waiting = sums.utterances / seconds, sums.waited / seconds
        log.say(
            f"step {step}/{max_steps} {text} lr {lr:.3g} {rate:.1f} utt/s, {waiting:.1%} of the time waiting for data, "
            f"about {seconds_left / 60:.1f} min left"
        )
        log.record(step, "train", values, lr=lr, utterances_per_second=rate, waiting_for_data=waiting)

    def after_validation(self, result: Validation, log: TrainLog) -> None:
        """Rank the checkpoint, tell the schedule, end or go on, log, save."""
        progress, select = self.progress, self.config.valid.select
        entry = result.entry(progress.step, self.valid_task)
        better = not progress.best or worth(entry, select) > worth(progress.best[0], select)
        progress.since_better = 0 if better else progress.since_better + 1
        progress.validated = progress.step
        self.schedule.after_validation(value_of(entry, self.config.optim.plateau_metric))
        progress.best = rank([*progress.best, entry], select)[: self.config.n_best]
        progress.finished = reason_to_stop(progress.step, progress.since_better, self.config)
        if progress.finished and self.judge.skipped:
            progress.finished += f", {self.judge.skipped} steps skipped"
        # Recorded before it is saved: a run that is killed in between repeats this validation and removes the record.
        log.validation(progress.step, result, better)
        self.sums = Sums(progress.step)
        self.save(entry if entry in progress.best else None, state=self.state_is_due())

    def keep_untrained(self) -> None:
        """The model as it was loaded becomes the one checkpoint; nothing selects it."""
        self.progress.finished = "max_steps=0"
        self.progress.best = [{"step": 0, "accuracy": None, "ua": None, "loss": None}]
        self.save(self.progress.best[0], state=self.config.keep_checkpoints)

    def state_is_due(self) -> bool:
        """At a validation: save_interval is over, or more than n_best checkpoints serve states alone.

        Nothing goes on from the end of training: its state is written only where it is kept.
        """
        if self.progress.finished:
            return self.config.keep_checkpoints
        due = self.saver.minutes_since_state() >= self.config.save_interval
        if distributed.is_main() and not due:
            self.saver.wait()  # it writes what is counted
            serving = checkpoints.needed_by_states(self.exp_dir)
            due = len(serving - checkpoints.listed(self.exp_dir, self.progress.best)) > self.config.n_best
        return distributed.from_main(due)

    def save(self, entry: dict | None = None, state: bool = True) -> None:
        """Save the checkpoint of an entry and the state, where they are wanted, then best.json; a run that is killed in
        between writes best.json when it resumes."""
        values = {
            "scheduler": self.schedule.state_dict(),
            "progress": asdict(self.progress),
            "bad_steps": [self.judge.skipped, self.judge.in_a_row],
            "sums": self.sums.state(),
        }
        if entry or state or self.progress.finished:
            checkpoint = checkpoints.checkpoint(self.exp_dir, entry) if entry else None
            then = partial(checkpoints.list_best, self.exp_dir, self.record(), self.config.keep_checkpoints)
            self.saver.save(checkpoint, self.exp_dir / STATE if state else None, values, then)

    def record(self) -> dict[str, Any]:
        """What best.json says."""
        metric = name_of(self.config.valid.select, self.valid_task) if self.config.max_steps else UNTRAINED
        finished, best = self.progress.finished, self.progress.best
        return {"metric": metric, "n_best": self.config.n_best, "finished": finished, "best": best}

    def resume(self) -> str:
        """Go on from the saved state if there is one; returns a line for the log. Later checkpoints are removed."""
        path = self.exp_dir / STATE
        if distributed.is_main():
            clear_half_written(self.exp_dir)
            if not path.is_file():  # then all of it is from before the first state
                for stray in (*self.exp_dir.glob(str(BEST)), *checkpoints.checkpoints(self.exp_dir)):
                    stray.unlink()
        if not distributed.from_main(path.is_file()):
            return "starting at step 0"
        usable = usable_state(path) if distributed.is_main() else (None, None)
        name, warning = distributed.from_main([usable[0] and usable[0].name, usable[1]])
        state = read_state(self.exp_dir / name)
        self.restore(state)
        if distributed.is_main():
            if warning:
                os.replace(self.exp_dir / name, path)
            checkpoints.list_best(self.exp_dir, self.record(), self.config.keep_checkpoints)
        ended = f", {self.progress.finished}" if self.progress.finished else ""
        message = f"resumed from {self.exp_dir / name} at step {self.progress.step}{ended}"
        return f"warning: {warning}; {message}" if warning else message

    def restore(self, state: TrainingState) -> None:
        put_back(state, self.model, self.optimizer)
        self.backward.copies.write()
        self.schedule.load_state_dict(state.values["scheduler"])
        self.progress = Progress(**state.values["progress"])
        self.judge = Judge(self.exp_dir, *state.values["bad_steps"])
        self.sums = Sums.restored(state.values["sums"], self.device)


def check_scale_loss(config: TrainConfig, tasks: Sequence[Task]) -> None:
    """UserError for a loss of scales that has nothing to learn from."""
    if config.loss.scale != "cross_entropy" and all(task.kind != "scale" for task in tasks):
        raise UserError(f"loss.scale={config.loss.scale}: no task is a scale; leave loss.scale at cross_entropy")
    if config.loss.scale == "ccc" and config.batch_size < 2 * distributed.world_size():
        raise UserError(
            f"batch_size: of {config.batch_size} utterances each of {distributed.world_size()} processes sees fewer "
            "than two at once, which have no CCC to learn from (loss.scale=ccc); raise it, or lower accum_grad in its "
            "favour"
        )


def timed(items: Iterator[T]) -> Iterator[tuple[T, float]]:
    """Each item with the seconds spent waiting for it."""
    start = time.monotonic()
    for item in items:
        yield item, time.monotonic() - start
        start = time.monotonic()
