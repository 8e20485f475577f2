"""The checkpoints of an experiment: their files, the list of the best for averaging, and which of them may go."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.files import write_text
from whisper_er.train.experiment import BEST, STATE
from whisper_er.train.training_state import previous, read_state


def checkpoint(exp_dir: Path, entry: dict[str, Any]) -> Path:
    """Path of the checkpoint of an entry of best.json."""
    return exp_dir / "checkpoints" / f"step{entry['step']:06d}.safetensors"


def checkpoints(exp_dir: Path) -> set[Path]:
    """Paths of the checkpoints in exp_dir."""
    return set((exp_dir / "checkpoints").glob("step*.safetensors"))


def list_best(exp_dir: Path, record: dict[str, Any], keep: bool) -> None:
    """Write best.json, which averaging reads, and remove what is not needed any more."""
    write_text(exp_dir / BEST, json.dumps(record, indent=1) + "\n")
    remove_unneeded(exp_dir, record, keep)


def remove_unneeded(exp_dir: Path, record: dict[str, Any], keep: bool, averaged: bool = False) -> None:
    """Remove the states of a run that has ended, and the checkpoints that nothing needs.

    record: what best.json says, written before: a run that was killed here removes the rest when it is called again.
    keep: the last state and all of the best stay. averaged: of the best, the first alone is needed. Training may go on
    from either state, so the checkpoints that they list stay as well.
    """
    states = [exp_dir / STATE, previous(exp_dir / STATE)]
    if record["finished"]:
        for state in states[1:] if keep else states:
            state.unlink(missing_ok=True)
    needed = record["best"][:1] if averaged and not keep else list(record["best"])
    for state in () if record["finished"] else states:
        with suppress(UserError):  # it is missing or broken: no run can resume from it
            needed += read_state(state).values["progress"]["best"]
    for stray in checkpoints(exp_dir) - {checkpoint(exp_dir, entry) for entry in needed}:
        stray.unlink(missing_ok=True)


def no_such_checkpoint(path: Path) -> UserError:
    """What to say where a checkpoint is asked for that is not there."""
    there = first_few(sorted(one.name for one in path.parent.glob("step*.safetensors"))) or "none"
    return UserError(
        f"{path}: no such checkpoint, there is {there}; with keep_checkpoints: false, averaging leaves the mean and "
        "the best one; train again with keep_checkpoints=true under another ser_tag, or remove the directory"
    )
