"""A job and its log: the notes before and after the command's output, the same on every backend."""

from __future__ import annotations

import shlex
import socket
from datetime import datetime
from pathlib import Path

TAIL_LINES = 15


class Job:
    """One command, its log, and its number in an array."""

    def __init__(self, number: str | None, log: str, argv: list[str]) -> None:
        self.number, self.log, self.argv = number, Path(log), argv
        self.log_start = 0

    def open_log(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log_start = self.log.stat().st_size if self.log.exists() else 0

    def tail(self) -> str:
        """The last lines of the command's last run, without our notes, and its last `error: ` line, which torchrun
        follows with a page of its own."""
        text = self.log.read_bytes()[self.log_start :].decode(errors="replace") if self.log.is_file() else ""
        lines = []
        for line in text.splitlines():
            if line.startswith("# host "):
                lines.clear()
            elif not line.startswith("# end "):
                lines.append(line)
        errors = [line for line in lines[:-TAIL_LINES] if line.startswith("error: ")]
        return "\n".join([*errors[-1:], *lines[-TAIL_LINES:]])


def start_note(argv: list[str], more: str = "") -> str:
    return f"# {shlex.join(argv)}\n# host {socket.gethostname()}, start {now()}{more}\n"


def end_note(code: int) -> str:
    return f"# end {now()}, exit code {code}\n"


def now() -> str:
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}"
