"""Wait for a job of Slurm, or an array of them, without hammering its controller."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import slurm_queue
from job_log import Job
from stop_request import StopRequest

LOOK_SECONDS = 0.2  # between looks at the exit files
FIRST_ASK_SECONDS, LAST_ASK_SECONDS = 1, 5  # between questions to Slurm, which grow
PATIENCE_SECONDS = 60  # before a reason to wait is mentioned
CANCEL_SECONDS = 60  # for cancelled jobs to end: above Slurm's usual 30 between TERM and KILL
ORDINARY_REASONS = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Prolog"}


class Watch:
    """A submitted job and what is known of its tasks."""

    def __init__(self, name: str, job_id: str, jobs: list[Job], work_dir: Path, stop: StopRequest) -> None:
        self.name, self.job_id, self.work_dir, self.stop = name, job_id, work_dir, stop
        self.open = {job_id if job.number is None else f"{job_id}_{job.number}": job for job in jobs}
        self.codes: dict[str, int] = {}  # of open tasks
        self.final_since: dict[str, float] = {}
        self.waits_since: dict[str, float] = {}  # by reason
        self.silent = False  # Slurm does not answer

    def wait(self) -> list[tuple[Job, str]]:
        """Wait for all; returns those that failed. After a failure pending tasks are cancelled, others may finish."""
        failed, pause, ask_at = [], FIRST_ASK_SECONDS, time.monotonic() + FIRST_ASK_SECONDS
        while self.open:
            if self.stop:
                self.cancel()
                sys.exit(self.stop.exit_code())
            if self.look():  # something failed: hear soon what Slurm makes of it
                pause, ask_at = FIRST_ASK_SECONDS, min(ask_at, time.monotonic() + FIRST_ASK_SECONDS)
            if time.monotonic() >= ask_at and (states := self.ask()) is not None:
                failures = self.close(states, cancelled=bool(failed))
                if failures and not failed:
                    slurm_queue.call(["scancel", "--state=PENDING", self.job_id])
                failed += failures
            if time.monotonic() >= ask_at:
                pause = min(1.5 * pause, LAST_ASK_SECONDS)
                ask_at = time.monotonic() + pause
            time.sleep(LOOK_SECONDS)
        return failed

    def look(self) -> bool:
        """Read new exit files and close tasks that ended well; True if another has failed."""
        codes = {}
        for path in self.work_dir.glob("*.exit"):
            task = self.job_id if path.stem == "job" else f"{self.job_id}_{path.stem}"
            if task in self.open:
                with contextlib.suppress(OSError):  # queued again, and just removed
                    codes[task] = int(path.read_text())
        for task in [task for task, code in codes.items() if code == 0]:
            del self.open[task], codes[task]
        new_failures, self.codes = codes.keys() - self.codes.keys(), codes
        return bool(new_failures)

    def ask(self) -> dict[str, tuple[str, str]] | None:
        """Slurm's states; None while it does not answer, which is no reason to give up."""
        try:
            states = slurm_queue.states(self.job_id)
        except OSError as error:
            if not self.silent:
                self.say(f"Slurm does not answer, waiting: {error}")
            self.silent = True
            return None
        if self.silent:
            self.say("Slurm answers again")
        self.silent = False
        self.mention_reasons(states)
        return states

    def close(self, states: dict[str, tuple[str, str]], cancelled: bool) -> list[tuple[Job, str]]:
        """Close ended tasks; returns those that failed. cancelled: we cancelled the tasks that had not started."""
        failed = []
        for task, job in list(self.open.items()):
            state, reason = states.get(task, (slurm_queue.UNKNOWN, ""))
            if state not in slurm_queue.FINAL:
                self.final_since.pop(task, None)
                continue
            waited = time.monotonic() - self.final_since.setdefault(task, time.monotonic())
            code = self.codes.get(task)
            never_ran = cancelled and code is None and state in ("CANCELLED", slurm_queue.UNKNOWN)
            if never_ran or (why := slurm_queue.judge(code, state, reason, waited)) == "":
                del self.open[task]
            elif why is not None:
                del self.open[task]
                failed.append((job, f"job {task}: {why}"))
        return failed

    def mention_reasons(self, states: dict[str, tuple[str, str]]) -> None:
        """Say once of each reason that time alone will not mend (a limit, a hold) that a task waits for it."""
        pending = {
            reason: task
            for task, (state, reason) in states.items()
            if state == "PENDING" and reason not in ORDINARY_REASONS
        }
        self.waits_since = {reason: self.waits_since.get(reason, time.monotonic()) for reason in pending}
        for reason, since in self.waits_since.items():
            if time.monotonic() - since > PATIENCE_SECONDS:
                self.say(f"job {pending[reason]} waits: {reason}")
                self.waits_since[reason] = float("inf")

    def cancel(self) -> None:
        """Cancel the job and wait until it has ended: it must not run beside the same job, started again."""
        deadline, cancelled = time.monotonic() + CANCEL_SECONDS, False
        while time.monotonic() < deadline and not self.stop.insists():
            cancelled = cancelled or slurm_queue.call(["scancel", self.job_id]).returncode == 0
            states = self.ask()
            if cancelled and states is not None and all(s in slurm_queue.FINAL for s, _ in states.values()):
                return
            time.sleep(FIRST_ASK_SECONDS)
        self.say(f"job {self.job_id} may still run: see squeue, and scancel {self.job_id}")

    def say(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr)
