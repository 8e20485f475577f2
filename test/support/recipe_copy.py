"""A copy of the recipes in which a test may run one, with the package and the environment linked."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from repository import ROOT


def copy_recipes(root: Path, python: Path | None = None) -> Path:
    """root/egs, without what running left in it; `python`: a directory with the one that its scripts are to call."""
    made = shutil.ignore_patterns("data", "dump", "exp", "downloads")
    shutil.copytree(ROOT / "egs", root / "egs", symlinks=True, ignore=made)
    for name in ("whisper_er", "tools"):
        (root / name).symlink_to(ROOT / name)
    if python:
        with open(root / "egs/TEMPLATE/ser1/path.sh", "a") as file:  # where the links of the others lead
            file.write(f"PATH={shlex.quote(str(python))}:${{PATH}}\n")
    return root / "egs"


def run_script(path: Path, *options: str | Path, **environment: str) -> str:
    """What a script that must end well printed, called where it lies."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    done = subprocess.run([path, *options], cwd=path.parent, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
