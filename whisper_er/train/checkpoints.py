"""The checkpoints of an experiment: their files, the list of the best for averaging, and which of them may go."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.train.experiment import BEST, STATE
from whisper_er.train.training_state import previous, read_state


def checkpoint(exp_dir: Path, entry: dict[str, Any]) -> Path:
    """The file of an entry {step, accuracy, loss}."""
    return exp_dir / "checkpoints" / f"step{entry['step']:06d}.safetensors"


def checkpoints(exp_dir: Path) -> set[Path]:
    """Paths of the checkpoints in exp_dir."""
    return set((exp_dir / "checkpoints").glob("step*.safetensors"))


def rank(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best first: by accuracy, and among equal accuracies by the lower validation loss."""
    return sorted(entries, key=lambda entry: (-entry["accuracy"], entry["loss"]))


def list_best(exp_dir: Path, listed: dict[str, Any]) -> None:
    """Write what averaging reads, and remove the checkpoints that no state lists.

    The state before the newest may yet be gone back to, and so keeps its own; a run that has ended needs it no more.
    """
    kept = {checkpoint(exp_dir, entry) for entry in listed["best"]}
    before = previous(exp_dir / STATE)
    if listed["finished"]:
        before.unlink(missing_ok=True)
    with suppress(UserError):  # there is none, or it is broken: nobody can go back to it
        kept |= {checkpoint(exp_dir, entry) for entry in read_state(before).values["progress"]["best"]}
    for stray in checkpoints(exp_dir) - kept:
        stray.unlink()
    write_text(exp_dir / BEST, json.dumps(listed, indent=1) + "\n")
