#!/usr/bin/env python3
"""The program that a Slurm job runs, on its first node: slurm_job.py WORK_DIR

Runs the command that WORK_DIR/jobs.json has for this task and leaves its exit code in WORK_DIR/<task>.exit. Before the
time limit (signal USR1, conf/slurm.conf) a command that can resume is stopped, and the job is queued again. Slurm ends
a job with TERM to all of its processes: the command has it already, and we stay to note how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from job_log import end_note, start_note

MAX_RESTARTS = 100


def main(work_dir: Path) -> int:
    task, restarts = os.environ.get("SLURM_ARRAY_TASK_ID", "job"), int(os.environ.get("SLURM_RESTART_COUNT", 0))
    exit_file = work_dir / f"{task}.exit"
    # The job had ended, but was preempted and queued again all the same.
    if not work_dir.exists() or (exit_file.exists() and exit_file.read_text() == "0"):
        return 0
    exit_file.unlink(missing_ok=True)
    plan = json.loads((work_dir / "jobs.json").read_text())
    argv = plan.pop("argv")[task]
    say(start_note(argv, f", Slurm job {job_name()}" + (f", restart {restarts}" if restarts else "")))
    code, warned = run_command(argv, **plan)
    say(end_note(code))
    if warned and code != 0 and queue_again(restarts):
        return 1
    with contextlib.suppress(FileNotFoundError):  # the launcher has ended and removed work_dir
        exit_file.with_suffix(".new").write_text(str(code))
        exit_file.with_suffix(".new").replace(exit_file)
    return code if code >= 0 else 128 - code


def run_command(argv: list[str], gpu: int, num_nodes: int, resume: bool) -> tuple[int, bool]:
    """Run a command: its exit code, and whether the time limit stopped it."""
    # The login node's number means nothing here; Slurm sets the first if cores were asked for.
    cores = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ["SLURM_CPUS_ON_NODE"]
    env = os.environ | {"OMP_NUM_THREADS": cores}
    no_gpu = {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}  # set here, since Slurm removes an empty one
    if num_nodes > 1:
        env |= torchrun_options(num_nodes)
        argv = srun(num_nodes, cores) + ["env", *map("=".join, no_gpu.items()), *argv]
    env |= no_gpu
    process, warned = None, False

    def stop() -> None:
        if num_nodes > 1:  # the steps of the job; srun itself would take TERM as an order to kill them
            subprocess.run(["scancel", "--signal=TERM", job_name()], check=False)
        else:
            with contextlib.suppress(ProcessLookupError):  # just ended
                os.killpg(process.pid, signal.SIGTERM)

    def warn(_number, _frame) -> None:
        nonlocal warned
        warned = resume
        if warned and process:
            stop()

    signal.signal(signal.SIGUSR1, warn)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
    except OSError as error:
        say(f"error: cannot run {argv[0]}: {error.strerror}\n")
        return 127, False
    if warned:  # while the process was started
        stop()
    return process.wait(), warned


def torchrun_options(num_nodes: int) -> dict[str, str]:
    """torchrun reads its options from PET_<NAME>. A fixed rank per node: c10d may make the second node the master."""
    hosts = subprocess.run(["scontrol", "show", "hostnames"], check=True, capture_output=True, text=True).stdout
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return {"PET_NNODES": str(num_nodes), "PET_MASTER_ADDR": hosts.split()[0], "PET_MASTER_PORT": str(port)}


def srun(num_nodes: int, cores: str) -> list[str]:
    # When one node ends, the others may still be saving their state: they get a minute rather than KILL.
    return [
        "srun",
        f"--nodes={num_nodes}",
        f"--ntasks={num_nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cores}",
        "--export=ALL",
        "--kill-on-bad-exit=0",
        "--wait=60",
        "sh",
        "-c",
        'PET_NODE_RANK=${SLURM_NODEID} exec "$@"',
        "sh",
    ]


def queue_again(restarts: int) -> bool:
    if restarts >= MAX_RESTARTS:
        say(f"error: restarted {restarts} times and still not finished: does it go on where it was stopped?\n")
        return False
    say("# stopped before the time limit, to be queued again\n")
    return subprocess.run(["scontrol", "requeue", job_name()], check=False).returncode == 0


def job_name() -> str:
    """The job's number with the task's: the SLURM_JOB_ID of an array's last task is that of the whole array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def say(text: str) -> None:
    """Write into the log, which Slurm has opened as our output."""
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
