"""Runs that are stopped between two of their actions, and what a run leaves behind."""

import json
from pathlib import Path
from threading import Thread
from unittest import mock

from whisper_er.base import files, weights
from whisper_er.bin import average
from whisper_er.train import checkpoints, saver, trainer, training_state
from whisper_er.train.experiment import STATE

# 3 steps an epoch, validations at 4, 8 and 10, log lines at 3, 6 and 9: no two of them fall together.
# One checkpoint is the best, so that files are dropped as well; dropout and SpecAugment draw random numbers. The last
# state is kept, to be compared.
OVERRIDES = ["n_best=1", "keep_checkpoints=true", "model.specaug.time_masks=1", "model.specaug.freq_masks=1",
             "optim.warmup_steps=5", "optim.plateau_patience=0"]  # fmt: skip
RARELY = "save_interval=1e6"  # a state at the first validation, at the end, and where checkpoints are to go
OUT_OF_BOUNDS = ["optim.lr=1000", "optim.weight_decay=1e9", "optim.warmup_steps=0"]  # weights grow 1e12 times a step
WRITES = [(weights, "replace"), (files.os, "link"), (files, "replace"), (trainer.TrainLog, "record"),
          (trainer.Trainer, "step"), (checkpoints.Path, "unlink"), (average, "point_to")]  # fmt: skip


class Stopped(Exception):
    pass


class AtOnce(Thread):
    """A saver's thread that has written all before training goes on."""

    def start(self) -> None:
        super().start()
        super().join()


class AtLast(Thread):
    """One that has written nothing before training waits for it."""

    def start(self) -> None:
        pass

    def join(self, timeout: float | None = None) -> None:
        if self.ident is None:
            super().start()
        super().join(timeout)


class StopAt:
    """Count the steps of a training run and everything that it writes or removes; raise before the n-th, and before
    all that follow, in whichever thread: as a kill, it ends both."""

    def __init__(self, moment: int, writer: type[Thread] = AtOnce) -> None:
        self.moment, self.writer, self.count = moment, writer, 0

    def watch(self, do):
        def watched(*args, **kwargs):
            self.count += 1
            if self.count >= self.moment:
                raise Stopped
            return do(*args, **kwargs)

        return watched

    def __enter__(self):
        self.patches = [mock.patch.object(owner, name, self.watch(getattr(owner, name))) for owner, name in WRITES]
        self.patches.append(mock.patch.object(saver, "Thread", self.writer))
        for patch in self.patches:
            patch.start()
        return self

    def __exit__(self, *_):
        for patch in self.patches:
            patch.stop()


def contents(exp_dir: Path) -> dict[str, object]:
    """Everything in an experiment directory, but for its times, its command line and TensorBoard's files."""
    files = [path for path in sorted(exp_dir.rglob("*")) if path.is_file() and "tensorboard" not in path.parts]
    timed = (".lock", "environment.json")
    found = {str(path.relative_to(exp_dir)): path.read_bytes() for path in files if path.name not in timed}
    found["metrics.jsonl"] = [json.loads(line) for line in (exp_dir / "metrics.jsonl").read_text().splitlines()]
    for entry in found["metrics.jsonl"]:
        entry.pop("utterances_per_second", None)
        entry.pop("waiting_for_data", None)
    if STATE in found:
        state = training_state.read_state(exp_dir / STATE)
        state.values["sums"] |= {"seconds": 0, "waited": 0}
        found[STATE] = [state.values, *((name, state.tensor(name).tolist()) for name in state.names)]
    return found
