"""The experiment directory: what it was made from, and the refusal to mix two experiments in one."""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from whisper_er import config as configuration
from whisper_er.base.errors import UserError, first_few
from whisper_er.base.files import write_text
from whisper_er.base.plain_files import parse_json, parse_yaml, read_plain, shorten
from whisper_er.config import TrainConfig
from whisper_er.data import kaldi

# These may differ: the model does not depend on them.
HARMLESS = ("path", "num_workers", "log_interval", "activation_checkpointing", "parallel")
STATE = "state.safetensors"  # the training state
BEST = Path("checkpoints", "best.json")  # the best checkpoints, and whether training has ended
BEST_SHAPE = {
    "metric": str, "n_best": int, "finished": str,
    "best": [{"step": int, "accuracy": (float, -math.inf, None), "loss": (float, None)}],
}  # fmt: skip
NEW_TAG = "give another ser_tag, or remove the directory"
UNTRAINED = "untrained"  # what selected the model where max_steps is 0


def describe(config: TrainConfig, inputs: dict[str, Path]) -> dict[str, Any]:
    """What an experiment is made from: its configuration, and digests of its inputs.

    inputs: train_set, valid_set and token_list, directories.
    """
    data: dict[str, Any] = {name: {"path": str(path), "sha256": digest(path)} for name, path in inputs.items()}
    for name in ("train_set", "valid_set"):
        spoken_by = kaldi.read_table(inputs[name] / "utt2spk").values()
        data[name] |= {"num_utterances": len(spoken_by), "speakers": sorted(set(spoken_by))}
    return {"config": configuration.to_plain(config), "data": data}


def check_same(exp_dir: Path, description: dict[str, Any]) -> None:
    """UserError that lists every difference from what the directory was started with, once something was trained."""
    if not (exp_dir / STATE).is_file():
        return
    before = {
        name: read_plain(parse_yaml, exp_dir / f"{name}.yaml", {}, "what training writes", NEW_TAG)
        for name in description
    }
    changes = differences(before["config"], description["config"]) + differences(before["data"], description["data"])
    if changes:
        raise UserError(f"{exp_dir}: was started with another configuration: {'; '.join(changes)}; {NEW_TAG}")


def write_description(exp_dir: Path, description: dict[str, Any], token_list: Path) -> None:
    """config.yaml, data.yaml, environment.json and a copy of the token list."""
    exp_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(exp_dir / "token_list", ignore_errors=True)
    shutil.copytree(token_list, exp_dir / "token_list")
    write_text(exp_dir / "environment.json", json.dumps(environment(), indent=1) + "\n")
    for name, content in description.items():
        write_text(exp_dir / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def ended(exp_dir: Path) -> str:
    """Why training ended, as its list of the best checkpoints has it; "" while it has not."""
    if not ((exp_dir / BEST).is_file() and (exp_dir / STATE).is_file()):
        return ""
    return read_best(exp_dir)["finished"]


def check_unseen(exp_dir: Path, data_dir: Path) -> None:
    """UserError if the model was trained on a speaker of this set: a score on it would not be a test."""
    shared = sorted(set(read_data(exp_dir)["train_set"]["speakers"]) & set(speakers(data_dir)))
    if shared:
        raise UserError(
            f"{data_dir}: {exp_dir} was trained on {len(shared)} of its speakers: {first_few(shared)}; decode a set of "
            "other speakers, or give --allow_shared_speakers true"
        )


def protocol(exp_dir: Path, test_dir: Path) -> str:
    """What was trained on, what selected the model and what tested it, and which speakers these sets share."""
    data, spoken_by = read_data(exp_dir), list(kaldi.read_table(test_dir / "utt2spk").values())
    train, valid, test = (
        set(names) for names in (data["train_set"]["speakers"], data["valid_set"]["speakers"], spoken_by)
    )
    best = read_best(exp_dir)
    selected = "not trained, nothing selected"
    if best["metric"] != UNTRAINED:
        selected = (
            f"trained on {data['train_set']['num_utterances']} utterances of {len(train)} speakers; model "
            f"selected by {best['metric']} on {data['valid_set']['num_utterances']} utterances of {len(valid)} "
            f"speakers, {len(valid & train)} of them in training"
        )
    return (
        f"{selected}; tested on {len(spoken_by)} utterances of {len(test)} speakers, {len(test & train)} of them "
        f"in training, {len(test & valid)} in validation"
    )


def read_data(exp_dir: Path) -> dict[str, Any]:
    one = {"num_utterances": int, "speakers": [str]}
    shape = {"train_set": one, "valid_set": one}
    return read_plain(parse_yaml, exp_dir / "data.yaml", shape, "the sets of a training", NEW_TAG)


def read_environment(exp_dir: Path) -> dict[str, Any]:
    """What the training ran in, and its command."""
    return read_plain(parse_json, exp_dir / "environment.json", {str: (str, [str])}, "what training ran in", NEW_TAG)


def read_best(exp_dir: Path) -> dict[str, Any]:
    """The list of the best checkpoints. UserError where there is none."""
    path = exp_dir / BEST
    if not path.is_file():
        raise UserError(f"{path}: no such file; stage 3 writes it at its first validation")
    best = read_plain(parse_json, path, BEST_SHAPE, "a list of checkpoints", "run stage 3 again")
    if not re.fullmatch(r"[\w-]+", best["metric"]):  # the name of what averaging writes begins with it
        raise UserError(f"{path}: the metric '{best['metric']}' is no name; run stage 3 again")
    return best


def speakers(data_dir: Path) -> list[str]:
    return sorted(set(kaldi.read_table(data_dir / "utt2spk").values()))


def differences(before: dict[str, Any], after: dict[str, Any], above: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs, but for the harmless ones."""
    changes = []
    for key in sorted(before.keys() | after.keys(), key=str):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += differences(old, new, f"{above}{key}.")
        elif old != new and key not in HARMLESS:
            changes.append(f"{above}{key}: {shorten(old)} -> {shorten(new)}")
    return changes


def digest(directory: Path) -> str:
    """sha256 over the names and contents of a directory's own files (tables, not the audio below it)."""
    total = hashlib.sha256()
    paths = []
    for above, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name != kaldi.AUDIO and not name.startswith(".")]
        paths += [Path(above, name) for name in names if not name.startswith(".")]
    for path in sorted(paths):
        total.update(f"{path.relative_to(directory)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def environment() -> dict[str, str | list[str]]:
    """What the result may depend on besides the configuration."""
    import torch  # what reads an experiment needs none of it, and would wait seconds

    return {
        "command": sys.argv,
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def git_revision() -> str:
    """Commit of the source tree, with `-dirty` where files differ from it; "unknown" without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
