"""Train in child processes that are killed at random moments. Prints, as JSON, where the kills struck.

    python killed_runs.py CORPUS OUT_DIR KILLS key=value ...

OUT_DIR/whole is a run that nobody killed, OUT_DIR/<n> the runs that were killed once and started again, of which every
second one saves few states. The modules are loaded once: a child is a fork, so that it is killed while it trains and
not while it imports.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from stopped_runs import RARELY
from tiny_experiment import train_and_average

from whisper_er.models import build  # noqa: F401  # which a training imports late
from whisper_er.train import disk  # noqa: F401


def start(corpus: Path, exp_dir: Path, overrides: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with open(f"{exp_dir}.log", "a", buffering=1) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            train_and_average(corpus, exp_dir, *overrides)
            code = 0
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    corpus, out_dir, kills, overrides = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    begin = time.monotonic()
    assert wait(start(corpus, out_dir / "whole", overrides)) == 0
    lasts, moments = time.monotonic() - begin, random.Random(1)
    struck, attempt = [], 0
    while len(struck) < kills:
        attempt += 1
        exp_dir, moment = out_dir / str(attempt), moments.uniform(0, lasts)
        options = [*overrides, RARELY] if attempt % 2 else overrides
        pid = start(corpus, exp_dir, options)
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        killed = wait(pid) == -signal.SIGKILL
        had_a_state = (exp_dir / "state.safetensors").is_file()
        assert wait(start(corpus, exp_dir, options)) == 0, Path(f"{exp_dir}.log").read_text()
        if killed:  # else it had ended by itself
            struck.append({"run": exp_dir.name, "after_seconds": moment, "had_a_state": had_a_state})
    print(json.dumps(struck))


if __name__ == "__main__":
    main()
