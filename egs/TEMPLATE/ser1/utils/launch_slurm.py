"""Run jobs as one job, or one array of jobs, of Slurm."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import slurm_queue
from job_log import Job
from slurm_conf import SlurmConf
from slurm_watch import Watch
from stop_request import StopRequest


def run(args: argparse.Namespace, jobs: list[Job], stop: StopRequest) -> list[tuple[Job, str]]:
    """Run the jobs; returns those that failed, each with Slurm's state."""
    conf = SlurmConf(args.config)
    requests = {
        "name": args.name,
        "gpu": args.gpu,
        "num_threads": args.num_threads,
        "mem": args.mem,
        "time": args.time,
        "num_nodes": args.num_nodes,
        "resume": "true" if args.resume else "false",
    }
    requests = (
        {"gpu": "0"} | conf.defaults | {name: str(value) for name, value in requests.items() if value is not None}
    )
    command = conf.words(requests)
    options = ["--parsable", f"--output={output_pattern(args.log, jobs)}", "--open-mode=append"]
    if jobs[0].number is not None:
        throttle = f"%{args.max_jobs_run}" if args.max_jobs_run else ""
        options.append(f"--array={array([int(job.number) for job in jobs])}{throttle}")
    for job in jobs:
        job.open_log()
    with work_directory(args.name, jobs) as work_dir:
        plan = {
            "argv": {job.number or "job": job.argv for job in jobs},
            "gpu": int(requests["gpu"]),
            "num_nodes": int(requests["num_nodes"]),
            "resume": args.resume,
        }
        (work_dir / "jobs.json").write_text(json.dumps(plan))
        job_id = submit(command, options, work_dir)
        return Watch(args.name, job_id, jobs, work_dir, stop).wait()


def output_pattern(log: str, jobs: list[Job]) -> str:
    """The log's name as sbatch's --output wants it."""
    if zero := [job.number for job in jobs if job.number and job.number != str(int(job.number))]:
        raise SystemExit(f"error: JOB={zero[0]}: Slurm numbers jobs without leading zeros")
    directory, name = os.getcwd().replace("%", "%%"), log.replace("%", "%%")
    path = os.path.join(directory, name if jobs[0].number is None else name.replace("JOB", "%a"))
    if "\\" in path:
        raise SystemExit(f"error: {log}: Slurm cannot write to a path with a backslash")
    return path


def array(numbers: list[int]) -> str:
    """sbatch's --array, 1-4 or 1,3,5: it refuses a list of a thousand numbers as too long."""
    first, last = numbers[0], numbers[-1]
    return f"{first}-{last}" if numbers == list(range(first, last + 1)) else ",".join(map(str, numbers))


@contextlib.contextmanager
def work_directory(name: str, jobs: list[Job]) -> Iterator[Path]:
    """A directory beside the logs, which the nodes see; only we may read it, since a command may hold secrets."""
    parent = os.path.commonpath([job.log.parent.absolute() for job in jobs])
    work_dir = tempfile.mkdtemp(prefix=f".launch.{re.sub(r'[^0-9A-Za-z_-]', '_', name)}.", dir=parent)
    try:
        yield Path(work_dir)
    finally:
        shutil.rmtree(work_dir)


def submit(command: list[str], options: list[str], work_dir: Path) -> str:
    """Submit the job; returns its number."""
    runner = Path(__file__).resolve().parent / "slurm_job.py"
    script = f"#!/bin/sh\nexec python3 {shlex.quote(str(runner))} {shlex.quote(str(work_dir))}\n"
    # Without the variables of a Slurm job that we may run in: they are not for the new one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    try:
        result = slurm_queue.call(command + options, input=script, env=env)
    except OSError as error:
        raise SystemExit(f"error: cannot run {command[0]}: {error.strerror}") from None
    messages = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in result.stderr.splitlines()]
    if result.returncode != 0:
        raise SystemExit(f"error: {shlex.join(command)}: {'; '.join(messages)}")
    sys.stderr.write(result.stderr)
    return result.stdout.strip().partition(";")[0]  # job or job;cluster
