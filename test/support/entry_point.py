"""Run an entry point as a user does: as a process of its own."""

import subprocess
import sys


def run_entry_point(name: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"whisper_er.bin.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def error_of(name: str, *arguments: object) -> str:
    """Return the one line of a run that has to end with the user's error."""
    result = run_entry_point(name, *arguments)
    assert result.returncode == 1, result
    assert result.stderr.startswith("error: "), result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr
