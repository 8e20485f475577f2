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
    """Path of the checkpoint of an entry of best.json."""
    return exp_dir / "checkpoints" / f"step{entry['step']:06d}.safetensors"


def checkpoints(exp_dir: Path) -> set[Path]:
    """Paths of the checkpoints in exp_dir."""
    return set((exp_dir / "checkpoints").glob("step*.safetensors"))


def list_best(exp_dir: Path, record: dict[str, Any]) -> None:
    """Write best.json, which averaging reads, and remove the checkpoints that no state lists.

    Training may resume from the state before the newest, so its checkpoints stay; a run that has ended removes both.
    """
    needed = {checkpoint(exp_dir, entry) for entry in record["best"]}
    previous_state = previous(exp_dir / STATE)
    if record["finished"]:
        previous_state.unlink(missing_ok=True)
    with suppress(UserError):  # it is missing or broken: no run can resume from it
        needed |= {checkpoint(exp_dir, entry) for entry in read_state(previous_state).values["progress"]["best"]}
    for stray in checkpoints(exp_dir) - needed:
        stray.unlink()
    write_text(exp_dir / BEST, json.dumps(record, indent=1) + "\n")
