"""A directory that is replaced: by one process at a time, and whole, however the process ends."""

import os
import signal
from pathlib import Path

import pytest

from whisper_er.base.errors import UserError
from whisper_er.base.files import holding, replace_dir


def replace(path: Path, text: str) -> None:
    with replace_dir(path, holding("made")) as new:
        (new / "made").write_text(text)


def killed_while_it_replaces(path: Path) -> None:
    """A child process that gets SIGKILL inside of replace_dir."""
    pid = os.fork()
    if not pid:
        with replace_dir(path, holding("made")) as new:
            (new / "made").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def refused_in_a_child(path: Path, message: str) -> bool:
    pid = os.fork()
    if not pid:
        try:
            with pytest.raises(UserError, match=message):
                replace(path, "second")
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def test_a_directory_that_another_process_is_replacing_is_refused_with_its_name(tmp_path):
    path = tmp_path / "runs" / "all"
    with replace_dir(path, holding("made")) as new:
        assert refused_in_a_child(path, f"all: another run works here: process {os.getpid()} on .*; wait for it")
        (new / "made").write_text("first")
    assert not refused_in_a_child(path, "another run")
    assert (path / "made").read_text() == "second"
    assert os.listdir(path.parent) == ["all"]


def test_what_is_killed_leaves_the_old_directory_and_neither_lock_nor_rest_stops_the_next(tmp_path):
    replace(tmp_path / "all", "old")
    killed_while_it_replaces(tmp_path / "all")
    assert (tmp_path / "all/made").read_text() == "old"
    replace(tmp_path / "all", "new")
    assert (tmp_path / "all/made").read_text() == "new"
    assert os.listdir(tmp_path) == ["all"]


def test_what_a_killed_process_has_started_does_not_write_into_the_next_directory(tmp_path):
    with replace_dir(tmp_path / "all", holding("made")) as first:
        pass
    pid = os.fork()
    if not pid:
        with replace_dir(tmp_path / "all", holding("made")) as second:
            os._exit(second == first)
    assert os.waitpid(pid, 0)[1] == 0
