"""The states of a Slurm job, and whether it has failed."""

from __future__ import annotations

import subprocess

UNKNOWN = "unknown to Slurm"
FINAL = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
    UNKNOWN,
}
LOST_SECONDS = 10  # a network file system may show an exit file that much later than Slurm knows of the end


def call(argv: list[str], **more) -> subprocess.CompletedProcess:
    """Run a command in its own session: Ctrl-C is for us, and must not lose a new job's number."""
    return subprocess.run(
        argv,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        start_new_session=True,
        **more,
    )


def states(job_id: str) -> dict[str, tuple[str, str]]:
    """(state, reason) by task, "12_3" or "12" for a job without an array. Raises OSError if Slurm does not answer."""
    squeue = call(["squeue", "--noheader", "--array", "--states=all", f"--jobs={job_id}", "--format=%i|%T|%r"])
    if squeue.returncode != 0 and "Invalid job id" not in squeue.stderr:  # said of jobs that Slurm has forgotten
        raise OSError(squeue.stderr.strip() or f"squeue: exit code {squeue.returncode}")
    rows = [line.split("|", 2) for line in squeue.stdout.splitlines()]
    return {task: (state, reason) for task, state, reason in rows}


def judge(code: int | None, state: str, reason: str, waited: float) -> str | None:
    """The result of a task: why it failed, "" if it ended well, None while that is open.

    code: what its exit file says. One that is not 0 counts once Slurm's state is final: a job that is preempted, or on
        a node that dies, may fail with TERM and is queued again.
    waited: seconds for which the state has been final.
    """
    if code == 0:
        return ""
    if state not in FINAL:
        return None
    if code is not None:
        return f"{state}, exit code {code}"
    if waited < LOST_SECONDS:
        return None
    if state == "COMPLETED":
        return ""
    return state if reason in ("", "None") else f"{state}, {reason}"
