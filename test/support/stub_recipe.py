"""A recipe directory whose `python` only notes how it was called and makes outputs of one word."""

import json
import os
import subprocess
import sys
from pathlib import Path

from repository import TEMPLATE

STUB = f"""#!{sys.executable} -SE
import json, os, sys
from pathlib import Path
name, args = sys.argv[2].rpartition(".")[2], sys.argv[3:]
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps([name, *args]) + "\\n")
if name == os.environ.get("FAIL") and os.environ.get("FAIL_IN", "") in " ".join(args):
    sys.exit(f"error: {{name}} failed")
def make(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("made")
def make_outputs(args):
    value = lambda option: args[args.index(option) + 1]
    if name == "make_folds":
        for fold in value("--folds").split():
            for part in ("train", "valid", "test"):
                make(f"{{value('--out_dir')}}/fold{{fold}}/{{part}}/utt2spk")
    elif name == "check_audio":
        print(os.environ.get("CHANGED", ""))
    elif name == "train":
        if not os.path.exists(value("--exp_dir") + "/checkpoints"):  # else it has finished
            make(value("--exp_dir") + "/checkpoints/1.safetensors")
    elif name == "average":
        make(value("--exp_dir") + "/ave.safetensors")
    elif name == "score":
        make(value("--out"))
    elif name == "split_dir":
        for part in range(int(value("--n"))):
            make(f"{{value('--out_dir')}}/{{part + 1}}/utt2spk")
    elif "--out_dir" in args:
        make(value("--out_dir") + "/utt2spk")
for fold in args[args.index("--folds") + 1].split() if "--folds" in args else [""]:
    make_outputs([word.replace("JOB", fold) for word in args])
"""
DATA = """#!/usr/bin/env bash
set -euo pipefail
python -m local.data "$@"
for name in ${SETS:-all}; do mkdir -p "${datadir}/${name}"; touch "${datadir}/${name}/utt2spk"; done
"""
FOLDS = ("--folds", "1 3", "--token_type", "bpe")


class Recipe:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("bin", "conf", "local"):
            (directory / name).mkdir(parents=True)
        for name in ("ser.sh", "cmd.sh", "utils"):
            (directory / name).symlink_to(TEMPLATE / name)
        (directory / "path.sh").write_text("PATH=${PWD}/bin:${PATH}; OMP_NUM_THREADS=4\n")
        (directory / "bin/python3").symlink_to(sys.executable)  # of launch.py
        for name in ("train_serialmtl", "train_b", "decode", "decode_b"):
            (directory / f"conf/{name}.yaml").touch()
        for name, text in (("bin/python", STUB), ("local/data.sh", DATA)):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess:
        (self.directory / "calls.jsonl").unlink(missing_ok=True)
        return subprocess.run(
            [self.directory / "ser.sh", *args],
            cwd=self.directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHON": sys.executable, **env},
        )

    def calls(self, *args: str, **env: str) -> list[list[str]]:
        """What a run that succeeds called, each as [entry point, argument ...]."""
        done = self.run(*args, **env)
        assert done.returncode == 0, done.stderr
        path = self.directory / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call[0] != "check_config"]


def option(call, name):
    return call[call.index(name) + 1]
