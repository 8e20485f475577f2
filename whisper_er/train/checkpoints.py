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


def listed(exp_dir: Path, best: list[dict[str, Any]]) -> set[Path]:
    return {checkpoint(exp_dir, entry) for entry in best}


def needed_by_states(exp_dir: Path) -> set[Path]:
    """The checkpoints that the newest state or the one before lists: training may resume from either."""
    needed = set()
    for state in (exp_dir / STATE, previous(exp_dir / STATE)):
        with suppress(UserError):  # it is missing or broken: no run can resume from it
            needed |= listed(exp_dir, read_state(state).values["progress"]["best"])
    return needed


def list_best(exp_dir: Path, record: dict[str, Any], keep: bool) -> None:
    """Write best.json, which averaging reads, and then remove what nothing needs."""
    write_text(exp_dir / BEST, json.dumps(record, indent=1) + "\n")
    remove_unneeded(exp_dir, record, keep)


def remove_unneeded(exp_dir: Path, record: dict[str, Any], keep: bool, averaged: bool = False) -> None:
    """Remove the states of a run that has ended, and the checkpoints that neither its record nor a state needs.

    record: what best.json says. A run that is killed here removes the rest when it is called again.
    keep: the last state and all of the best stay. averaged: otherwise the first of the best stays alone.
    """
    if record["finished"]:
        previous(exp_dir / STATE).unlink(missing_ok=True)
        if not keep:
            (exp_dir / STATE).unlink(missing_ok=True)
    best = record["best"][:1] if averaged and not keep else record["best"]
    for stray in checkpoints(exp_dir) - listed(exp_dir, best) - needed_by_states(exp_dir):
        stray.unlink(missing_ok=True)


def no_such_checkpoint(path: Path) -> UserError:
    """What to say where a checkpoint is asked for that is not there."""
    there = first_few(sorted(one.name for one in path.parent.glob("step*.safetensors"))) or "none"
    return UserError(
        f"{path}: no such checkpoint, there is {there}; with keep_checkpoints: false, averaging leaves the mean and "
        "the best one; train again with keep_checkpoints=true under another ser_tag, or remove the directory"
    )
