"""Stages on a corpus in which something is wrong: what a shell sees of the refusal."""

import sys
from pathlib import Path
from unittest import mock

import pytest
from hostile import spoil
from tiny_experiment import decode_arguments, token_list_arguments, train_arguments

from whisper_er.bin import average, decode, run, token_list, train

STAGES = {
    "token_list": lambda root: (token_list, token_list_arguments(root, "--out_dir", root / "new")),
    "train": lambda root: (train, train_arguments(root, root / "new")),  # refused before anything is made
    "training": lambda root: (train, train_arguments(root, root / "new")),  # refused while it reads
    "average": lambda root: (average, ["--exp_dir", root / "new"]),
    "decode": lambda root: (decode, decode_arguments(root, root / "exp", root / "hyp")),
}
Case = tuple[str, dict[str, object], list[str], list[str]]  # stage, files to spoil, options, parts of the line


def error_line(capfd: pytest.CaptureFixture, entry_point, *arguments: object) -> str:
    """Run an entry point to the exit that a shell sees; returns its one line on standard error."""
    capfd.readouterr()
    argv = mock.patch.object(sys, "argv", [entry_point.__name__, *map(str, arguments)])
    with argv, pytest.raises(SystemExit) as exit_:
        run(entry_point.main)
    line = exit_.value.code  # a string: Python prints it and exits with 1
    assert isinstance(line, str) and line.startswith("error: ") and len(line.splitlines()) == 1, line
    assert capfd.readouterr().err == ""
    return line


def check_refusal(root: Path, capfd: pytest.CaptureFixture, case: Case) -> None:
    """The stage ends with one line that holds all parts, `{root}` being the directory, and leaves no result."""
    stage, files, options, parts = case
    spoil(root, files)
    before = set(root.rglob("*"))
    entry_point, arguments = STAGES[stage](root)
    line = error_line(capfd, entry_point, *arguments, *(str(option).replace("{root}", str(root)) for option in options))
    for part in parts:
        assert part.replace("{root}", str(root)) in line
    made = {path.name for path in set(root.rglob("*")) - before}
    assert "best.json" not in made if stage == "training" else not made
