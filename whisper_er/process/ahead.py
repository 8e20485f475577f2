"""Processes that work ahead of the one that takes the results: batches of training and decoding, the audio of stage 1.

They are forked, so that they share what is there, and tasks and results go through pipes. The queues of
multiprocessing, which torch's DataLoader and concurrent.futures use, have semaphores, which are files in /dev/shm: a
container may have no room there, or no /dev/shm.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from whisper_er.base.errors import UserError
from whisper_er.process import torchrun
from whisper_er.process.memory import out_of_memory
from whisper_er.process.stop import never, outlive_signals

T = TypeVar("T")
AT_ONCE = 2  # numbers that a process has: it goes on with the second while the first one's result is used
SAY_EVERY = 120  # seconds of waiting for one result
GIVE_UP = 5  # seconds of waiting for one result, once asked to stop
# The same for one of several processes that train together: without its result none of them can save.
GIVE_UP_TOGETHER = 60
LOOK_EVERY = 0.5  # seconds between two looks at whether to stop
PR_SET_PDEATHSIG = 1  # of Linux's prctl
HINTS = {
    signal.SIGKILL: ", as the kernel does where memory runs out",
    signal.SIGBUS: ", as where a file is cut short while it is read",
    signal.SIGSEGV: ", a crash of the library that reads",
}


class GivenUp(Exception):
    """Asked to stop, and what it waited for did not come."""


@dataclass(frozen=True)
class Job(Generic[T]):
    """work: number below count -> its result; describe: number -> what is worked on, for messages; advice: what to do
    where a process cannot be started or dies; prepare: called first in each process, if there are any."""

    work: Callable[[int], T]
    count: int
    describe: Callable[[int], str]
    advice: str
    prepare: Callable[[], object] | None = None


@dataclass
class Worker:
    """A process, and the numbers whose results it owes, in order; it works on the first. pid: 0 once it is reaped."""

    pid: int
    connection: Connection
    numbers: deque[int] = field(default_factory=deque)


def results(job: Job[T], processes: int, depth: int, stop: Callable[[], bool] = never) -> Iterator[T]:
    """The results of all numbers in order, at most `depth` of them computed ahead; 0 processes: in this one.

    UserError where one of them raises it, cannot read or dies. While a result does not come, a line on standard error
    says so every two minutes; GivenUp once stop() says that the program shall end. The processes end with the thread
    that takes the first result: it forks them.
    """
    if not processes:
        yield from map(job.work, range(job.count))
        return
    workers: list[Worker] = []
    done: dict[int, tuple[T | None, Exception | None]] = {}
    given = 0
    patience = GIVE_UP_TOGETHER if torchrun.world_size() > 1 else GIVE_UP
    try:
        for _ in range(min(processes, job.count)):
            workers.append(start(job))
        for number in range(job.count):
            began = said = unasked = time.monotonic()
            collect(job, workers, done, 0)
            while True:
                while given < min(job.count, number + depth):
                    worker = min(workers, key=lambda worker: len(worker.numbers))
                    if len(worker.numbers) == AT_ONCE:
                        break
                    give(job, worker, given)
                    given += 1
                if number in done:
                    break
                collect(job, workers, done, LOOK_EVERY)
                now = time.monotonic()
                if not stop():
                    unasked = now
                elif now - unasked > patience:
                    raise GivenUp(f"stopped while it waited for {job.describe(number)}")
                if now - said > SAY_EVERY:
                    said = now
                    print(f"waiting for {job.describe(number)} since {now - began:.0f} s", file=sys.stderr, flush=True)
            result, error = done.pop(number)
            if error:  # here, so that of two errors the same one is raised every time
                raise error
            yield result
    finally:
        end(workers)


def start(job: Job) -> Worker:
    try:
        ours, theirs = Pipe()
        parent, pid = os.getpid(), os.fork()
    except OSError as error:
        raise UserError(f"a process cannot be started: {error.strerror}; {job.advice}") from None
    if pid:
        theirs.close()  # or the end of the process would not be seen
        return Worker(pid, ours)
    try:
        serve(job, theirs, parent)
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(1)


def serve(job: Job, connection: Connection, parent: int) -> None:
    """Answer the parent's numbers until it ends; what it can mend is sent as a line, a defect as its traceback."""
    outlive_signals()
    # Ends with its parent, even where it is stuck in a read. A system that refuses it has no other way, so what it
    # returns is not looked at.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    if job.prepare:
        job.prepare()
    while True:
        try:
            number = connection.recv()
        except EOFError:
            return
        try:
            answer = job.work(number), None
        except (UserError, OSError) as error:
            answer = None, out_of_memory(error, job.advice) or UserError(str(error))
        except Exception as error:
            answer = None, out_of_memory(error, job.advice) or RuntimeError(f"in a process:\n{traceback.format_exc()}")
        connection.send(answer)


def give(job: Job, worker: Worker, number: int) -> None:
    try:
        worker.connection.send(number)
    except OSError:
        raise UserError(reason_of_death(job, worker)) from None
    worker.numbers.append(number)


def collect(job: Job[T], workers: list[Worker], done: dict[int, tuple], seconds: float) -> None:
    """Take the results and errors that are there, or wait for one."""
    busy = {worker.connection: worker for worker in workers if worker.numbers}
    for connection in wait(list(busy), seconds):
        worker = busy[connection]
        while worker.numbers and connection.poll():
            try:
                answer = connection.recv()
            except (EOFError, OSError):
                raise UserError(reason_of_death(job, worker)) from None
            done[worker.numbers.popleft()] = answer


def reason_of_death(job: Job, worker: Worker) -> str:
    """One line about a process that has closed its pipe."""
    had = job.describe(worker.numbers[0]) if worker.numbers else "nothing to do"
    what = f"process {worker.pid}, which had {had},"
    _, code = reap(worker.pid)
    worker.pid = 0
    if code is None:
        return f"{what} ended; {job.advice}"
    if code >= 0:
        return f"{what} ended with exit code {code}; {job.advice}"
    names = {number: number.name for number in signal.Signals}  # not all of the real-time ones
    return f"{what} was ended by {names.get(-code, f'signal {-code}')}{HINTS.get(-code, '')}; {job.advice}"


def reap(pid: int, options: int = 0) -> tuple[bool, int | None]:
    """Whether a process has ended, and its exit code: None where SIGCHLD is ignored, as whoever started the program may
    have it; then the kernel keeps none."""
    try:
        ended, status = os.waitpid(pid, options)
    except ChildProcessError:
        return True, None
    return bool(ended), os.waitstatus_to_exitcode(status)


def end(workers: list[Worker]) -> None:
    """Kill the processes. One that the kernel cannot end, as in a read from a dead disk, is left to it."""
    pids = [worker.pid for worker in workers if worker.pid]
    for pid in pids:
        with suppress(ProcessLookupError):  # reaped already
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 2
    while pids := [pid for pid in pids if not reap(pid, os.WNOHANG)[0]]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    for worker in workers:
        worker.connection.close()
