"""Jobs as processes of this machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time

from job_log import Job, end_note, start_note
from stop_request import StopRequest

POLL_SECONDS = 0.02
GRACE_SECONDS = 150  # between TERM and KILL: a training saves its state, after the save that may be under way


class Process:
    """The command of a job, running."""

    def __init__(self, job: Job, env: dict[str, str], terminal: tuple[int, ...]) -> None:
        self.job, self.process = job, None
        job.open_log()
        self.note(start_note(job.argv))
        with job.log.open("ab") as log:
            try:  # in a session of its own: ending the job ends whatever it started as well
                self.process = subprocess.Popen(
                    job.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=env,
                    pass_fds=terminal,
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"error: cannot run {job.argv[0]}: {error.strerror}\n".encode())

    def note(self, text: str) -> None:
        with self.job.log.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(text)

    def exit_code(self) -> int | None:
        return 127 if self.process is None else self.process.poll()

    def finish(self) -> None:
        self.note(end_note(self.process.wait() if self.process else self.exit_code()))

    def send(self, number: signal.Signals) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):  # already gone
                os.killpg(self.process.pid, number)


def run(args: argparse.Namespace, jobs: list[Job], stop: StopRequest) -> list[tuple[Job, str]]:
    """Run the jobs; returns those that failed. After a failure no other is started unless args.keep_going; those that
    run may finish."""
    env = dict(os.environ)
    env |= {"OMP_NUM_THREADS": str(args.num_threads)} if args.num_threads else {}
    env |= {} if args.gpu else {"CUDA_VISIBLE_DEVICES": ""}
    at_once = args.max_jobs_run or len(jobs)
    # A job that runs alone may show its progress on our terminal (whisper_er/process/progress.py); its output goes to
    # the log.
    terminal = (os.dup(sys.stderr.fileno()),) if min(at_once, len(jobs)) == 1 and sys.stderr.isatty() else ()
    env |= {"PROGRESS_FD": str(terminal[0])} if terminal else {}
    waiting, running, failed = list(jobs), [], []
    while running or (waiting and (args.keep_going or not failed)):
        while waiting and (args.keep_going or not failed) and not stop.received and len(running) < at_once:
            running.append(Process(waiting.pop(0), env, terminal))
        if stop:
            end(running, stop)
            sys.exit(stop.exit_code())
        for process in [process for process in running if process.exit_code() is not None]:
            running.remove(process)
            process.finish()
            failed += [(process.job, "")] if process.exit_code() != 0 else []
        time.sleep(POLL_SECONDS)
    return failed


def end(running: list[Process], stop: StopRequest) -> None:
    """TERM, and KILL after GRACE_SECONDS or at once if the user insists."""
    for process in running:
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while (
        any(process.exit_code() is None for process in running) and time.monotonic() < deadline and not stop.insists()
    ):
        time.sleep(POLL_SECONDS)
    for process in running:
        process.send(signal.SIGKILL)  # also what the command left behind
        process.finish()
