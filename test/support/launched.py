"""What the tests of utils/launch.py share, for jobs here and on Slurm."""

import subprocess
import time
from pathlib import Path

from repository import TEMPLATE

LAUNCH = TEMPLATE / "utils/launch.py"
SHOW = "import sys; print(sys.argv[1:])"
AWKWARD = ["<|happy|>", "two words", "$HOME `id` 'x' \"y\"", "", "--", "--gpu", "*", "ä"]


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
    return path.read_text()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill_the_caller_of(command, directory: Path, env=None) -> None:
    """`command` makes the words of a launcher's call; its job has to end with the script that called it."""
    words = command(directory / "a.log", "bash", "-c", f"echo $$ >{directory}/pid; sleep 60")
    process = subprocess.Popen(["bash", "-c", '"$@"; true', "bash", *words], env=env)
    pid = int(wait_for(directory / "pid"))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
