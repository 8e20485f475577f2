"""A job and its log: the notes before and after the command's output, the same on every backend."""

from __future__ import annotations

import re
import shlex
import socket
from datetime import datetime
from pathlib import Path

from failure import reason, without_page

TAIL_LINES = 15


class Job:
    """One command, its log, and its number in an array."""

    def __init__(self, number: str | None, log: str, argv: list[str]) -> None:
        self.number, self.log, self.argv = number, Path(log), argv
        self.log_start = 0

    def open_log(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log_start = self.log.stat().st_size if self.log.exists() else 0

    def why(self) -> str:
        """Why its last run failed: the line that says so, or the last ones of what it wrote."""
        text = self.log.read_bytes()[self.log_start :].decode(errors="replace") if self.log.is_file() else ""
        text = re.split(r"^# host .*\n", text, flags=re.MULTILINE)[-1]  # of the last start
        written = [line for line in without_page(text.splitlines()) if not line.startswith("# end ")]
        return reason(text) or "\n".join(written[-TAIL_LINES:])


def start_note(argv: list[str], more: str = "") -> str:
    return f"# {shlex.join(argv)}\n# host {socket.gethostname()}, start {now()}{more}\n"


def end_note(code: int) -> str:
    return f"# end {now()}, exit code {code}\n"


def now() -> str:
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}"
