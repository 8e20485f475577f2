#!/usr/bin/env python3
"""Run a command, or an array of them, and keep its output in a log. cmd.sh chooses the backend and its options.

    utils/launch.py --backend local exp/a/log/average.log python -m whisper_er.bin.average ...
    utils/launch.py --backend local --max_jobs_run 2 JOB=1:4 exp/a/log/decode.JOB.log python ... parts/JOB
    utils/launch.py --backend local JOB=1,3,5 exp/a/foldJOB/log/train.log python ... --exp_dir exp/a/foldJOB

JOB is replaced by the job's number in the log's name and in the command; no shell looks at the arguments. A log is
appended to, so what an interrupted run said stays readable. What was started ends with us, or with who started us.
"""

import argparse
import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

TAIL_LINES = 15
POLL_SECONDS = 0.02
GRACE_SECONDS = 10  # between TERM and KILL

received: list[int] = []  # signals that ask us to stop


class Job:
    """One command and its log."""

    def __init__(self, log: str, argv: list[str]) -> None:
        self.log, self.argv, self.process = Path(log), argv, None

    def note(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"# {text}\n")

    def start(self, env: dict[str, str], terminal: tuple[int, ...]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        host = f"host {socket.gethostname()}, start {datetime.now():%Y-%m-%d %H:%M:%S}"
        self.note(f"{shlex.join(self.argv)}\n# {host}")
        self.log_start = self.log.stat().st_size
        with self.log.open("ab") as log:
            try:  # in a session of its own: ending the job ends whatever it started as well
                self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                                pass_fds=terminal, start_new_session=True)
            except OSError as error:
                log.write(f"error: cannot run {self.argv[0]}: {error.strerror}\n".encode())

    def exit_code(self) -> int | None:
        return 127 if self.process is None else self.process.poll()

    def finish(self) -> None:
        code = self.process.wait() if self.process else self.exit_code()
        self.note(f"end {datetime.now():%Y-%m-%d %H:%M:%S}, exit code {code}")

    def send(self, number: signal.Signals) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):  # already gone
                os.killpg(self.process.pid, number)

    def tail(self) -> str:
        """The end of what the command said this time."""
        lines = self.log.read_bytes()[self.log_start:].decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES - 1 : -1])  # without our own last line


def run_all(jobs: list[Job], at_once: int, env: dict[str, str]) -> list[Job]:
    """The jobs that failed. After a failure no other is started; those that run may finish."""
    waiting, running, failed, caller = list(jobs), [], [], os.getppid()
    # A job that runs alone may show its progress on our terminal (whisper_er/progress.py); its output goes to the log.
    terminal = (os.dup(sys.stderr.fileno()),) if min(at_once, len(jobs)) == 1 and sys.stderr.isatty() else ()
    env = env | ({"PROGRESS_FD": str(terminal[0])} if terminal else {})
    while running or (waiting and not failed):
        while waiting and not failed and not received and len(running) < at_once:
            running.append(waiting.pop(0))
            running[-1].start(env, terminal)
        if received or os.getppid() != caller:
            stop(running)
        for job in [job for job in running if job.exit_code() is not None]:
            running.remove(job)
            job.finish()
            failed += [job] if job.exit_code() != 0 else []
        time.sleep(POLL_SECONDS)
    return failed


def stop(running: list[Job]) -> None:
    for job in running:
        job.send(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(job.exit_code() is None for job in running) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for job in running:
        job.send(signal.SIGKILL)  # also what the command left behind
        job.finish()
    sys.exit(128 + (received or [signal.SIGTERM])[0])


def parse_args() -> tuple[argparse.Namespace, list[Job]]:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["local"], required=True)
    parser.add_argument("--gpu", type=int, default=0, help="GPUs of one job; a job with 0 sees none")
    parser.add_argument("--num_threads", type=int, help="threads of one job (OMP_NUM_THREADS); unset: as inherited")
    for name, what in (("--mem", "memory of one job, such as 4G"), ("--time", "time limit HH:MM:SS")):
        parser.add_argument(name, help=f"{what}: a request to a cluster's scheduler, nothing to the local backend")
    parser.add_argument("--max_jobs_run", type=int, default=10**6, help="jobs at the same time; unset: all")
    parser.add_argument("--name", default="job", help="what messages call it")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="[JOB=1:N | JOB=1,3,5] log command ...")
    args = parser.parse_args()
    if min(args.num_threads or 1, args.max_jobs_run) < 1:
        parser.error("--num_threads and --max_jobs_run must be at least 1")
    spec = args.rest.pop(0) if args.rest and args.rest[0].startswith("JOB=") else None
    if len(args.rest) < 2:
        parser.error("a log and a command are needed")
    log, *argv = args.rest
    if spec is None:
        return args, [Job(log, argv)]
    if not (numbers := job_numbers(spec)) or "JOB" not in log:
        parser.error(f"{spec} {log}: write JOB=1:4 or JOB=1,3,5, each number once, and JOB in the log's name")
    return args, [Job(log.replace("JOB", n), [word.replace("JOB", n) for word in argv]) for n in numbers]


def job_numbers(spec: str) -> list[str]:
    """The numbers of JOB=1:4 or JOB=1,3,5; none if it is neither or repeats one."""
    if match := re.fullmatch(r"JOB=(\d+):(\d+)", spec):
        return [str(number) for number in range(int(match[1]), int(match[2]) + 1)]
    numbers = spec.removeprefix("JOB=").split(",")
    return numbers if all(map(str.isdecimal, numbers)) and len(set(numbers)) == len(numbers) else []


def main() -> int:
    args, jobs = parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, lambda number, _frame: received.append(number))
    env = dict(os.environ)
    env |= {"OMP_NUM_THREADS": str(args.num_threads)} if args.num_threads else {}
    env |= {"CUDA_VISIBLE_DEVICES": ""} if args.gpu == 0 else {}
    if not (failed := run_all(jobs, args.max_jobs_run, env)):
        return 0
    print(failed[0].tail(), f"{args.name}: {len(failed)} of {len(jobs)} failed; log: {failed[0].log}", sep="\n",
          file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
