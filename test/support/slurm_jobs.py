"""Jobs that utils/launch.py starts on Slurm."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from launched import LAUNCH, wait_for

CONF = LAUNCH.parents[1] / "conf/slurm.conf"


def command(*args, conf=CONF):
    return [sys.executable, LAUNCH, "--backend", "slurm", "--config", conf, "--num_threads", "1", *map(str, args)]


def start(env, *args, conf=CONF):
    # Tests that run under nohup hand down ignored signals, which the launcher leaves ignored.
    return subprocess.Popen(
        command(*args, conf=conf),
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def job_id(log: Path) -> str:
    while not (match := re.search(r"Slurm job (\d+)", wait_for(log))):
        time.sleep(0.1)
    return match[1]


def conf_with(directory: Path, *lines: str) -> Path:
    conf = directory / "slurm.conf"
    conf.write_text("\n".join([CONF.read_text(), *lines]))
    return conf
