"""Processes that work ahead: their results in order; what is said where one dies or hangs, and what ends it."""

import faulthandler
import os
import re
import select
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest import mock

import pytest

from whisper_er.base.errors import UserError
from whisper_er.process import ahead
from whisper_er.process.ahead import GivenUp, Job, results

NEVER = 100  # seconds
HERE = os.getpid()


def job(work, count: int = 7) -> Job:
    return Job(work, count, "the audio of number {}".format, "set num_workers=0")


def at(number: int, do):
    """Work that does something else at one number, outside of this process."""
    return lambda given: do() if given == number and os.getpid() != HERE else given


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_results_come_in_order_however_long_each_takes(processes):
    work = lambda number: (time.sleep(0.03 * (number % 3 == 0)), number * number)[1]  # noqa: E731
    assert list(results(job(work), processes, 4)) == [number * number for number in range(7)]


def test_no_more_than_depth_are_computed_ahead_of_the_one_that_is_taken():
    reader, writer = os.pipe()
    work = lambda number: os.write(writer, b".")  # noqa: E731
    taken = results(job(work), 2, 3)
    next(taken)
    next(taken)
    time.sleep(0.1)
    assert len(os.read(reader, 100)) <= 4
    taken.close()


def test_a_process_reads_on_while_a_result_is_used():
    reader, writer = os.pipe()
    taken = results(job(lambda number: os.write(writer, b".")), 1, 3)
    next(taken)
    for _ in range(3):  # the result that is used, and two
        assert select.select([reader], [], [], 20)[0]
        os.read(reader, 1)
    taken.close()


@pytest.mark.parametrize(
    "die, reason",
    [
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "was ended by SIGKILL, as the kernel does where memory runs out",
        ),
        (
            lambda: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGBUS)),
            "was ended by SIGBUS, as where a file is cut short",
        ),
        (lambda: os._exit(3), "ended with exit code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGRTMIN + 3), f"was ended by signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_a_process_that_dies_is_named_with_what_it_had(die, reason):
    with pytest.raises(
        UserError, match=rf"^process \d+, which had the audio of number 4, {reason}.*; set num_workers=0"
    ):
        list(results(job(at(4, die)), 2, 4))


def test_one_that_dies_while_it_has_nothing_to_do_is_noticed():
    pids = iter(results(job(lambda number: os.getpid()), 1, 1))
    os.kill(pid := next(pids), signal.SIGKILL)
    while alive(pid):
        time.sleep(0.001)
    with pytest.raises(UserError, match="which had nothing to do, was ended by SIGKILL"):
        list(pids)


def test_where_the_kernel_keeps_no_exit_status_the_results_come_and_a_death_is_named():
    program = (
        "import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from whisper_er.process.ahead import Job, results\n"
        "print(list(results(Job(abs, 3, str, ''), 2, 4)))\n"
        "list(results(Job(lambda number: os._exit(3), 2, str, 'advice'), 1, 2))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[0, 1, 2]\n"
    assert re.search(r"UserError: process \d+, which had 0, ended; advice\n$", done.stderr), done.stderr


@pytest.mark.parametrize(
    "error, raised, message",
    [
        (OSError(12, "Cannot allocate memory"), UserError, "^memory does not suffice; set num_workers=0$"),
        (UserError("utt: no such file"), UserError, "^utt: no such file$"),
        (OSError(5, "Input/output error", "a.wav"), UserError, "Input/output error: 'a.wav'"),
        (
            MemoryError("Unable to allocate 7.45 GiB for"),
            UserError,
            "^memory does not suffice: 7.45 GiB .*num_workers=0",
        ),
        (KeyError("defect"), RuntimeError, r"(?s)Traceback .*KeyError: 'defect'"),
    ],
)
def test_an_error_is_raised_where_the_result_is_taken(error, raised, message):
    with pytest.raises(raised, match=message):
        list(results(job(at(2, mock.Mock(side_effect=error))), 2, 4))


def test_of_two_errors_the_first_in_order_is_raised():
    def fail(number: int) -> None:
        time.sleep(0.2 * (number == 2))
        if number >= 2:
            raise UserError(f"number {number}")

    with pytest.raises(UserError, match="^number 2$"):
        list(results(job(fail), 2, 4))


@pytest.mark.parametrize(
    "broken, error",
    [
        (Job(lambda number: lambda: 0, 2, str, ""), "pickle"),
        (Job(abs, 2, str, "", mock.Mock(side_effect=KeyError("defect"))), "KeyError: 'defect'"),
    ],
)
def test_a_defect_outside_of_the_work_shows_its_traceback(broken, error, capfd):
    with pytest.raises(UserError, match="ended with exit code 1"):
        list(results(broken, 1, 2))
    assert re.search(f"(?s)^Traceback.*{error}", capfd.readouterr().err)


@pytest.mark.parametrize("processes, seconds", [("1", 0), ("2", 55)])
def test_asked_to_stop_it_waits_a_while_from_then_on_and_longer_for_others(monkeypatch, processes, seconds):
    now, asked_at = [0.0], 20
    reader, writer = os.pipe()

    def stop() -> bool:
        if now[0] >= asked_at + seconds:
            os.write(writer, b".")  # it comes
            return True
        now[0] += 1
        return now[0] > asked_at

    monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setattr(ahead, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    monkeypatch.setattr(ahead, "LOOK_EVERY", 0.005)
    assert list(results(job(at(3, lambda: os.read(reader, 1))), 1, 4, stop))[3] == b"."


def test_while_a_result_does_not_come_it_says_what_it_waits_for_until_it_is_asked_to_stop(monkeypatch, capfd):
    monkeypatch.setattr(ahead, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(ahead, "SAY_EVERY", 0.1)
    monkeypatch.setattr(ahead, "GIVE_UP", 0.05)
    before, pids, said = set(children()), set(), []

    def stop() -> bool:
        pids.update(children())
        said.append(capfd.readouterr().err)
        return any(said)

    with pytest.raises(GivenUp, match="^stopped while it waited for the audio of number 3$"):
        list(results(job(at(3, lambda: time.sleep(NEVER))), 2, 4, stop))
    assert re.match(r"waiting for the audio of number 3 since \d+ s\n", "".join(said))
    assert pids - before and not (pids - before) & set(children())


def children() -> list[int]:
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]


PROGRAM = """
import os, time
from whisper_er.process.ahead import Job, results
os.mkfifo("fifo")
for pid in results(Job(lambda number: open("fifo").read() if number else os.getpid(), 2, str, ""), 1, 1):
    print(pid, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stuck_in_a_read_ends_with_the_program(tmp_path, number):
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path)
    worker = int(process.stdout.readline())
    assert alive(worker)
    process.send_signal(number)
    assert process.wait(20) == -number
    deadline = time.monotonic() + 20
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(worker)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_it_needs_no_shared_memory_file_system(tmp_path):
    """A container's /dev/shm may be full or read-only."""
    script = "mount -t tmpfs -o ro tmpfs /dev/shm && exec " + f"'{sys.executable}' -c \"$1\""
    program = "from whisper_er.process.ahead import Job, results; print(list(results(Job(abs, 5, str, ''), 2, 4)))"
    allowed = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/dev/shm"], check=False)
    if allowed.returncode:
        pytest.skip("needs a mount namespace (root)")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[0, 1, 2, 3, 4]\n", done.stderr
