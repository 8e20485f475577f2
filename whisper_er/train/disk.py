"""How much disk a run takes, from the number of its parameters, and whether there is so much."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from whisper_er.config import TrainConfig
from whisper_er.models.base import Model
from whisper_er.step.optimizer import bytes_of, bytes_of_moments
from whisper_er.train.checkpoints import checkpoints
from whisper_er.train.experiment import STATE
from whisper_er.train.training_state import previous, saved

GB = 10**9
STATES = 3  # the newest, the one before, and one that is being written


@dataclass(frozen=True)
class Files:
    """The large files of a run at one time. bytes_each: of a checkpoint, and of a state."""

    checkpoints: int  # the mean of several is one more
    states: int
    bytes_each: tuple[int, int]
    whole: int = 0  # bytes of the mean where it is the whole model and the checkpoints are not

    @property
    def bytes(self) -> int:
        return self.checkpoints * self.bytes_each[0] + self.states * self.bytes_each[1] + self.whole

    def __str__(self) -> str:
        counts = zip((self.checkpoints, self.states), ("checkpoint", "state"), self.bytes_each)
        parts = [f"{n} {name}{'s' * (n > 1)} of {gigabytes(size)}" for n, name, size in counts if n]
        parts += [f"their mean, a whole model of {gigabytes(self.whole)}"] if self.whole else []
        return f"{gigabytes(self.bytes)} GB ({', '.join(parts)})"


def gigabytes(size: int) -> str:
    """Two decimals; two digits of what is small."""
    return f"{size / GB:.2f}" if size >= GB / 10 else f"{size / GB:.2g}"


@dataclass(frozen=True)
class RunSize:
    """The files of a run: at most while it trains; once training has ended; once its checkpoints are averaged."""

    training: Files
    trained: Files
    averaged: Files


def run_size(model: Model, config: TrainConfig) -> RunSize:
    """Files of a run of this model, which may be an empty one.

    A checkpoint has all weights, with LoRA those that are trained; a state AdamW's two moments of the trained ones as
    well.
    """
    weights, moments = bytes_of(saved(model).values()), bytes_of_moments(model, config.optim)
    whole = bytes_of(model.state_dict().values()) if model.saves_trained_only else 0
    each = weights, weights + (moments if config.max_steps else 0)
    validations = math.ceil(config.max_steps / config.valid_interval) or 1  # the untrained model is one checkpoint
    best, last_state = min(config.n_best, validations), int(config.keep_checkpoints)
    for_states = config.n_best if config.save_interval else 1
    mean = int(best > 1 and not whole)  # the mean of one is a link to it
    return RunSize(
        # Up to n_best that only a state lists, from which training may resume, and one that is being written.
        training=Files(min(best + for_states + 1, validations), STATES if config.max_steps else last_state, each),
        trained=Files(best, last_state, each),
        averaged=Files((best if config.keep_checkpoints else 1) + mean, last_state, each, whole),
    )


def warn_of_full_disk(exp_dir: Path, size: RunSize) -> None:
    """Print one line where the disk cannot hold the run beside what is there.

    A warning: other runs may free what they hold before it is needed, and a run that meets a full disk ends in one
    line and goes on once there is room.
    """
    ours = [*checkpoints(exp_dir), *filter(Path.is_file, (exp_dir / STATE, previous(exp_dir / STATE)))]
    room = shutil.disk_usage(exp_dir).free + sum(path.stat().st_size for path in ours)
    if room < size.training.bytes:
        print(
            f"warning: training needs up to {size.training}, {exp_dir} has room for {room / GB:.2f} GB; make room, or "
            "keep fewer checkpoints (n_best)"
        )
