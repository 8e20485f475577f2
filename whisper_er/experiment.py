"""The experiment directory: what it was made from, and the refusal to mix two experiments in one."""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml

from whisper_er import config as configuration
from whisper_er.checkpoint import write_text
from whisper_er.config import TrainConfig
from whisper_er.errors import UserError


def claim(exp_dir: Path, config: TrainConfig, inputs: dict[str, Path]) -> None:
    """Make the directory, or check that it belongs to this configuration and to these inputs.

    inputs: train_set, valid_set and token_list, directories that are recorded with a digest of their files. Raises
    UserError that lists every difference from what the directory was started with.
    """
    wanted = yaml.safe_load(configuration.to_yaml(config))
    data = {name: {"path": str(path), "sha256": digest(path)} for name, path in inputs.items()}
    if (exp_dir / "config.yaml").is_file() and (exp_dir / "data.yaml").is_file():
        found = yaml.safe_load((exp_dir / "config.yaml").read_text(encoding="utf-8"))
        before = yaml.safe_load((exp_dir / "data.yaml").read_text(encoding="utf-8"))
        changes = differences(found, wanted) + differences(before, data)
        if changes:
            raise UserError(
                f"{exp_dir}: was started with another configuration: {'; '.join(changes)}; "
                "give another ser_tag, or remove the directory"
            )
        return
    exp_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(exp_dir / "token_list", ignore_errors=True)
    shutil.copytree(inputs["token_list"], exp_dir / "token_list")
    write_text(exp_dir / "environment.json", json.dumps(environment(), indent=1) + "\n")
    write_text(exp_dir / "config.yaml", configuration.to_yaml(config))
    write_text(exp_dir / "data.yaml", yaml.safe_dump(data, sort_keys=False))


def differences(before: dict[str, Any], after: dict[str, Any], above: str = "") -> list[str]:
    """`key: old -> new` for every leaf that differs; paths may move, contents may not."""
    changes = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += differences(old, new, f"{above}{key}.")
        elif old != new and key != "path":
            changes.append(f"{above}{key}: {shorten(old)} -> {shorten(new)}")
    return changes


def shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:8] + "..."


def digest(directory: Path) -> str:
    """sha256 over the names and contents of a directory's own files (tables, not the audio below it)."""
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.suffix not in (".wav", ".flac", ".ark"):
            total.update(f"{path.relative_to(directory)}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def environment() -> dict[str, str | list[str]]:
    """What the result may depend on besides the configuration."""
    return {
        "command": sys.argv,
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
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
