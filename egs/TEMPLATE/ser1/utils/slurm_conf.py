"""conf/slurm.conf: how a site's jobs are requested. The file itself describes its format."""

from __future__ import annotations

import shlex
from pathlib import Path

OPTIONS = ("gpu", "num_threads", "mem", "time", "num_nodes", "resume", "name")
DEFAULTS = ("gpu", "num_threads", "mem", "time")  # what a caller may leave open
COUNTS = ("gpu", "num_threads")


class SlurmConf:
    """The lines of the file, by name and value."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.command: list[str] = []
        self.options: dict[tuple[str, str], list[str]] = {}
        self.defaults: dict[str, str] = {}
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SystemExit(f"error: {path}: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            try:
                self.read(shlex.split(line, comments=True))
            except ValueError as error:
                raise SystemExit(f"error: {path}, line {number}: {error}") from None
        if not self.command:
            raise SystemExit(f"error: {path}: no line 'command sbatch ...'")

    def read(self, words: list[str]) -> None:
        """Take in a line; ValueError where it is malformed."""
        if not words:
            return
        kind, *words = words
        if kind == "command" and words:
            if self.command:
                raise ValueError("there is another 'command' above")
            self.command = words
        elif kind in ("option", "default") and words:
            name, equals, value = words[0].partition("=")
            allowed = OPTIONS if kind == "option" else DEFAULTS
            if not equals or name not in allowed:
                raise ValueError(f"{words[0]}: write NAME=VALUE, where NAME is one of {', '.join(allowed)}")
            if kind == "option":
                self.options[name, value] = words[1:]
            elif len(words) > 1 or (name in COUNTS and not value.isdecimal()):
                raise ValueError(f"{' '.join(words)}: a default is one value, and a number for {', '.join(COUNTS)}")
            else:
                self.defaults[name] = value
        else:
            raise ValueError(f"{kind}: a line is 'command WORDS', 'option NAME=VALUE WORDS' or 'default NAME=VALUE'")

    def words(self, requests: dict[str, str]) -> list[str]:
        """The call of sbatch for these requests; a line with the exact value is preferred to one with *."""
        words = list(self.command)
        for name, value in requests.items():
            option = self.options.get((name, value), self.options.get((name, "*")))
            if option is None:
                raise SystemExit(f"error: {self.path}: no line 'option {name}={value} ...' or 'option {name}=* ...'")
            words += [word.replace("$0", value) for word in option]
        return words
