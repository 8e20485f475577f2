"""What a user sees of a job that failed: the line that says why, and where the log is."""

import subprocess
import sys
from pathlib import Path

import pytest
from launched import LAUNCH

sys.path.insert(0, str(LAUNCH.parent))
from failure import reason, without_page  # noqa: E402

TRACEBACK = """Traceback (most recent call last):
  File "a.py", line 3, in <module>
    main()
    ^^^^^^
ValueError: boom
of two lines
"""
PAGE = """E1129 12:03:03.9 10224 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1)
Traceback (most recent call last):
  File "torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:{space}
============================================================
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 4242){space}
  error_file: <N/A>
""".replace("{space}", " ")
LOST = "RuntimeError: Connection reset by peer"


def of_rank(rank: int, text: str) -> str:
    return "".join(f"[rank{rank}]: {line}\n" for line in text.splitlines())


def lost(rank: int) -> str:
    return of_rank(rank, TRACEBACK.replace("ValueError: boom\nof two lines", LOST))


# What stands before torchrun's page, with the exit code in it, or what is the whole log without a code.
LOGS = {
    "the error of an entry point": ("step 3\nerror: no labels\n", None, "error: no labels"),
    "the last one": ("error: a.wav cannot be read\nerror: nothing is left\n", None, "error: nothing is left"),
    "an option that argparse refuses": ("usage: whisper-er train\nwhisper-er train: error: no --config\n", None,
                                        "whisper-er train: error: no --config"),
    "a crash": ("step 3\n" + TRACEBACK, None, "ValueError: boom"),
    "a crash while another is handled": (f"{TRACEBACK}\nDuring handling of it, another exception occurred:\n\n"
                                         + TRACEBACK.replace("boom", "again"), None, "ValueError: again"),
    "a crash in a process that reads": ("Traceback (most recent call last):\n  File\nValueError: Caught ValueError\n"
                                        "Original " + TRACEBACK, None, "ValueError: boom"),
    "what is printed as the program leaves": ("error: no labels\nException ignored in: <f>\n" + TRACEBACK, None,
                                              "error: no labels"),
    "a crash, and what is printed after it": (TRACEBACK + "Exception ignored in: <f>\n"
                                              + TRACEBACK.replace("boom", "late"), None, "ValueError: boom"),
    "a reason of several lines": (TRACEBACK.replace("boom\nof two lines", "keys:\n\tMissing: a\n\tMissing: b"), None,
                                  "ValueError: keys:\n\tMissing: a\n\tMissing: b"),
    "a signal, as bash says it": (TRACEBACK + "bash: 4242 Killed\n# end 2026, exit code 137\n", None,
                                  "error: ended by SIGKILL, as the kernel does where memory runs out"),
    "one process, which another loses first": (lost(0) + of_rank(1, TRACEBACK), 1, "[rank1]: ValueError: boom"),
    "a signal": ("step 3\n# end 2026-11-29 12:00:00, exit code -11\n", None, "error: ended by SIGSEGV"),
    "an exit code alone": ("make: *** [all] Error 2\n# end 2026-11-29 12:00:00, exit code 2\n", None, ""),
    "the same error of all processes": (of_rank(1, "error: no labels") + of_rank(0, "error: no labels"), 1,
                                        "error: no labels"),
    "one process, which the others lose": (of_rank(1, "error: u1: no such file") + lost(0), 1,
                                           "[rank1]: error: u1: no such file"),
    "a crash of one process": (of_rank(1, TRACEBACK) + lost(0), 1, "[rank1]: ValueError: boom"),
    "two errors, the first of rank 10": (of_rank(10, "error: z") + of_rank(2, "error: a"), 1, "[rank10]: error: z"),
    "a process that was killed": (lost(0), -9,
                                  "error: rank 1 was ended by SIGKILL, as the kernel does where memory runs out"),
    "one that torchrun had to kill": (of_rank(0, "error: no labels")
                                      + "W1129] Unable to shutdown process 4242 via 15, forcefully exiting via 9\n", -9,
                                      "error: no labels"),
    "one that torchrun asked to stop": (of_rank(0, "error: no labels"), -15, "error: no labels"),
    "torchrun's page alone": ("step 3\n", 1, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", LOGS)
def test_the_reason_is(what):
    before, code, expected = LOGS[what]
    log = before + (PAGE.replace("{code}", str(code)) if code else "")
    assert reason(log) == expected


def test_the_log_without_torchruns_page_ends_with_what_the_processes_wrote():
    log = "step 3\n" + TRACEBACK + PAGE
    assert without_page(log.splitlines()) == [*("step 3\n" + TRACEBACK).splitlines(), PAGE.splitlines()[0]]
    assert without_page(TRACEBACK.splitlines()) == TRACEBACK.splitlines()


# Rank 0 notices that rank 1 has ended as by a connection: the pipe that only rank 1 still writes to is closed.
PROGRAM = """
import os, signal, sys
from whisper_er.base.errors import UserError
from whisper_er.process.torchrun import leaving, rank
from whisper_er.bin import run
case, pipe = sys.argv[1:]
def main():
    global end  # closed as the process ends, as a connection is
    if case == "all":
        raise UserError("u1: no such file; put it back")
    if rank() == 0:
        open(pipe).read()
        raise RuntimeError("Connection closed by peer")
    end = open(pipe, "w")
    if case == "crash":
        raise ValueError("boom")
    os.kill(os.getpid(), signal.SIGKILL)
with leaving():
    run(main)
"""
CASES = {
    "all": "error: u1: no such file; put it back",
    "crash": "[rank1]: ValueError: boom",
    "kill": "error: rank 1 was ended by SIGKILL, as the kernel does where memory runs out",
}


@pytest.mark.parametrize("case", CASES)
def test_the_last_lines_on_the_terminal_say_why_a_torchrun_failed_and_where_its_log_is(tmp_path, warm_python, case):
    (tmp_path / "torchrun.py").write_text("from torch.distributed.run import main\nmain()\n")
    (tmp_path / "rank.py").write_text(PROGRAM)
    pipe = tmp_path / "pipe"
    subprocess.run(["mkfifo", pipe], check=True)
    torchrun = [warm_python / "python", tmp_path / "torchrun.py", "--standalone", "--nproc-per-node", "2"]
    log = tmp_path / "train.log"
    command = [sys.executable, LAUNCH, "--backend", "local", "--name", "training", log, *torchrun,
               tmp_path / "rank.py", case, pipe]  # fmt: skip
    env = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(LAUNCH.parents[4])}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [CASES[case], f"training: 1 of 1 failed; log: {log}"]
    assert "ChildFailedError" in log.read_text()
