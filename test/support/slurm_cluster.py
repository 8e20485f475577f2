"""A private Slurm for the tests (tools/slurm), on ports that are free."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from repository import ROOT

TOOLS = ROOT / "tools/slurm"
PATH = f"{os.environ['PATH']}:/usr/sbin"  # where the daemons lie


def why_not() -> str:
    """What is missing here, if anything."""
    if os.geteuid() != 0:
        return "a Slurm for tests is started by root only"
    missing = [name for name in ("sbatch", "slurmctld", "slurmd", "munged") if not shutil.which(name, path=PATH)]
    return f"{', '.join(missing)} missing: apt-get install slurm-wlm munge" if missing else ""


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """The environment in which sbatch reaches it. RuntimeError where it does not start."""
    directory = tempfile.mkdtemp(prefix="slurm.", dir="/tmp")  # a socket's path may have about 100 characters
    os.chmod(directory, 0o755)  # munge insists
    env = os.environ | {"PATH": PATH, "SLURM_CONF": f"{directory}/slurm.conf", "SLURM_TEST_PORT": str(free_ports())}
    try:
        with open(f"{directory}/start.log", "w") as log:  # no pipe: the daemons would hold it open
            start = subprocess.run([TOOLS / "start.sh", directory], env=env, stdout=log, stderr=log, check=False)
        if start.returncode != 0:
            raise RuntimeError(Path(directory, "start.log").read_text().strip().rpartition("\n")[2])
        yield env
    finally:
        subprocess.run([TOOLS / "stop.sh", directory], env=env, check=True)
        shutil.rmtree(directory)


def free_ports() -> int:
    """The first of three."""
    while True:
        first = random.randrange(20000, 32000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
