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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from whisper_er.base.errors import UserError
from whisper_er.process.memory import out_of_memory
from whisper_er.process.stop import outlive_signals

T = TypeVar("T")
SAY_EVERY = 120  # seconds of waiting for one result
GIVE_UP = 5  # seconds of waiting for one result, once asked to stop
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
    where a process cannot be started or dies; prepare: called first in each process."""

    work: Callable[[int], T]
    count: int
    describe: Callable[[int], str]
    advice: str
    prepare: Callable[[], object] = int


@dataclass
class Worker:
    """A process, and the number that it works on; None while it has none."""

    pid: int
    connection: Connection
    number: int | None = None


def results(job: Job[T], processes: int, depth: int, stop: Callable[[], bool] = lambda: False) -> Iterator[T]:
    """The results of all numbers in order, at most `depth` of them computed ahead; 0 processes: in this one.

    UserError where one of them raises it, cannot read or dies. While a result does not come, a line on standard error
    says so every two minutes; GivenUp once stop() says that the program shall end.
    """
    if not processes:
        yield from map(job.work, range(job.count))
        return
    workers: list[Worker] = []
    done: dict[int, T] = {}
    given = 0
    try:
        for _ in range(min(processes, job.count)):
            workers.append(start(job))
        for number in range(job.count):
            began = said = time.monotonic()
            collect(job, workers, done, 0)
            while True:
                for worker in workers:
                    if worker.number is None and given < min(job.count, number + depth):
                        give(job, worker, given)
                        given += 1
                if number in done:
                    break
                collect(job, workers, done, LOOK_EVERY)
                now = time.monotonic()
                if now - began > GIVE_UP and stop():
                    raise GivenUp(f"stopped while it waited for {job.describe(number)}")
                if now - said > SAY_EVERY:
                    said = now
                    print(f"waiting for {job.describe(number)} since {now - began:.0f} s", file=sys.stderr, flush=True)
            yield done.pop(number)
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
    finally:
        os._exit(1)


def serve(job: Job, connection: Connection, parent: int) -> None:
    """Answer the parent's numbers until it ends; what it can mend is sent as a line, a defect as its traceback."""
    outlive_signals()
    # Ends with its parent, even where it is stuck in a read.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    job.prepare()
    while True:
        number = connection.recv()
        try:
            answer = job.work(number), None
        except (UserError, OSError) as error:
            answer = None, UserError(str(error))
        except Exception as error:
            answer = None, out_of_memory(error, job.advice) or RuntimeError(f"in a process:\n{traceback.format_exc()}")
        connection.send(answer)


def give(job: Job, worker: Worker, number: int) -> None:
    worker.number = number
    try:
        worker.connection.send(number)
    except OSError:
        raise UserError(reason_of_death(job, worker)) from None


def collect(job: Job[T], workers: list[Worker], done: dict[int, T], seconds: float) -> None:
    """Take the results that are there, or wait for one."""
    busy = {worker.connection: worker for worker in workers if worker.number is not None}
    for connection in wait(list(busy), seconds):
        worker = busy[connection]
        try:
            result, error = connection.recv()
        except (EOFError, OSError):
            raise UserError(reason_of_death(job, worker)) from None
        if error:
            raise error
        done[worker.number], worker.number = result, None


def reason_of_death(job: Job, worker: Worker) -> str:
    """One line about a process that has closed its pipe."""
    what = f"process {worker.pid}, which had {job.describe(worker.number)},"
    code = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
    worker.pid = 0
    if code >= 0:
        return f"{what} ended with exit code {code}; {job.advice}"
    return f"{what} was ended by {signal.Signals(-code).name}{HINTS.get(-code, '')}; {job.advice}"


def end(workers: list[Worker]) -> None:
    """Kill the processes. One that the kernel cannot end, as in a read from a dead disk, is left to it."""
    pids = [worker.pid for worker in workers if worker.pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 2
    while pids := [pid for pid in pids if not os.waitpid(pid, os.WNOHANG)[0]]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    for worker in workers:
        worker.connection.close()
