"""utils/launch.py, run as cmd.sh runs it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from launched import AWKWARD, LAUNCH, SHOW, is_alive, kill_the_caller_of, wait_for


def command(*args):
    return [sys.executable, str(LAUNCH), "--backend", "local", *map(str, args)]


def launch(*args, env=None):
    environment = {**os.environ, "PYTHONIOENCODING": "UTF-8", **(env or {})}
    return subprocess.run(command(*args), check=False, capture_output=True, text=True, timeout=30, env=environment)


def test_arguments_reach_the_command_as_they_are(tmp_path):
    log = tmp_path / "new dir" / "a.log"
    done = launch(log, sys.executable, "-c", SHOW, *AWKWARD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[2] == str(AWKWARD)
    assert lines[0].startswith("# ") and lines[1].startswith("# host ") and lines[-1].endswith("exit code 0")


@pytest.mark.parametrize("spec, numbers", [("JOB=1:3", "123"), ("JOB=2,5", "25")])
def test_job_is_replaced_in_log_and_command(tmp_path, spec, numbers):
    assert launch(spec, tmp_path / "a.JOB.log", sys.executable, "-c", SHOW, "foldJOB/xJOB").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{n}.log" for n in numbers]
    for n in numbers:
        assert f"['fold{n}/x{n}']" in (tmp_path / f"a.{n}.log").read_text()


def test_a_failure_shows_its_error_and_starts_no_further_job(tmp_path):
    code = "import sys; print('\\n'.join(map(str, range(90)))); sys.exit('error: no such file' if 'JOB' == '2' else 0)"
    done = launch("--max_jobs_run", 1, "--name", "train", "JOB=1:3", tmp_path / "JOB.log", sys.executable, "-c", code)
    assert done.returncode == 1
    assert done.stderr == f"error: no such file\ntrain: 1 of 3 failed; log: {tmp_path}/2.log\n"
    assert (tmp_path / "1.log").exists() and not (tmp_path / "3.log").exists()


def test_a_failure_without_an_error_shows_the_end_of_its_last_log(tmp_path):
    for _ in range(2):
        done = launch(tmp_path / "a.log", sys.executable, "-c", "print(*range(90), sep='\\n'); exit(3)")
    assert done.stderr.splitlines() == [*map(str, range(75, 90)), f"job: 1 of 1 failed; log: {tmp_path}/a.log"]
    done = launch(tmp_path / "a.log", sys.executable, "-c", "print('90'); exit(3)")
    assert done.stderr.splitlines()[0] == "90" and len(done.stderr.splitlines()) == 2
    done = launch(tmp_path / "a.log", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert done.stderr.startswith("error: ended by SIGKILL")


def test_a_command_that_is_not_there_is_named(tmp_path):
    done = launch(tmp_path / "a.log", "no_such_command")
    assert done.returncode == 1
    assert "cannot run no_such_command" in done.stderr
    assert (tmp_path / "a.log").read_text().endswith("exit code 127\n")


def test_no_more_jobs_run_at_once_than_allowed(tmp_path):
    code = (
        "import os, time; d = os.environ['D']; open(d + '/runJOB', 'w').close(); time.sleep(0.1); "
        "print('seen', len([f for f in os.listdir(d) if f.startswith('run')])); os.remove(d + '/runJOB')"
    )
    args = ("--max_jobs_run", 2, "JOB=1:5", tmp_path / "JOB.log", sys.executable, "-c", code)
    assert launch(*args, env={"D": str(tmp_path)}).returncode == 0
    seen = [(tmp_path / f"{n}.log").read_text().split("seen ")[1][0] for n in range(1, 6)]
    assert max(seen) <= "2"


def test_threads_and_gpus_are_set_for_the_command(tmp_path):
    show = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ.get('CUDA_VISIBLE_DEVICES', 'unset'))"
    env = {"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "0"}
    for options, shown in [(("--num_threads", 3), "3 "), ((), "7 "), (("--gpu", 1), "7 0")]:
        log = tmp_path / f"{len(list(tmp_path.iterdir()))}.log"
        assert launch(*options, log, sys.executable, "-c", show, env=env).returncode == 0
        assert log.read_text().splitlines()[2] == shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_the_command_started(tmp_path, number):
    grandchild = f"sleep 60 & echo $! >{tmp_path}/pid; wait"
    # Tests that run in the background or under nohup hand down ignored signals, which the launcher leaves ignored.
    process = subprocess.Popen(
        command(tmp_path / "a.log", "bash", "-c", grandchild), preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)
    )
    pid = int(wait_for(tmp_path / "pid"))
    process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number
    assert not is_alive(pid)
    assert "# end " in (tmp_path / "a.log").read_text()


def test_a_second_ctrl_c_does_not_wait_for_the_command(tmp_path):
    stubborn = f"trap 'touch {tmp_path}/asked' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        command(tmp_path / "a.log", "bash", "-c", stubborn),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    pid = int(wait_for(tmp_path / "pid"))
    process.send_signal(signal.SIGINT)
    while not (tmp_path / "asked").exists():
        time.sleep(0.02)
    assert is_alive(pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 128 + signal.SIGINT
    assert not is_alive(pid)


def test_one_machine_has_one_node_and_resuming_changes_nothing(tmp_path):
    done = launch("--num_nodes", 2, tmp_path / "a.log", "true")
    assert done.returncode == 2
    assert done.stderr == "error: --num_nodes 2: the local backend has one node; use slurm (cmd.sh)\n"
    assert launch("--resume", tmp_path / "a.log", "true").returncode == 0


def test_the_command_ends_when_the_script_that_launched_it_is_killed(tmp_path):
    kill_the_caller_of(command, tmp_path)


@pytest.mark.parametrize(
    "args",
    [
        ("--gpus", 1, "log", "true"),
        ("--max_jobs_run", -1, "log", "true"),
        ("--num_threads", -2, "log", "true"),
        ("JOB=1:2", "log", "true"),
        ("JOB=3:1", "JOB.log", "true"),
        ("JOB=1,1", "JOB.log", "true"),
        ("JOB=a", "JOB.log", "true"),
        ("log",),
        (),
        ("--num_nodes", 0, "log", "true"),
        ("--backend", "slurm", "log", "true"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(args):
    assert launch(*args).returncode == 2
