"""utils/slurm_job.py, the part of the launcher that runs on a compute node, without Slurm."""

import json
import os
import signal
import subprocess
import sys

import pytest
from launched import LAUNCH, wait_for

WAIT_FOR_TERM = "trap 'exit {code}' TERM; echo x >{ready}; while :; do sleep 0.05; done"


class Node:
    """A directory of work, and the environment and commands that Slurm gives its jobs."""

    def __init__(self, directory):
        self.directory, self.work = directory, directory / "work"
        self.work.mkdir()
        scontrol = directory / "bin/scontrol"
        scontrol.parent.mkdir()
        scontrol.write_text(f'#!/bin/sh\necho "$@" >>{directory}/scontrol.log\n')
        scontrol.chmod(0o755)
        self.env = os.environ | {
            "PATH": f"{scontrol.parent}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_CPUS_ON_NODE": "3",
        }
        self.env.pop("SLURM_ARRAY_TASK_ID", None)

    def start(self, argv, resume=False, **env):
        (self.work / "jobs.json").write_text(
            json.dumps({"argv": {"job": argv}, "gpu": 0, "num_nodes": 1, "resume": resume})
        )
        return subprocess.Popen(
            [sys.executable, LAUNCH.with_name("slurm_job.py"), self.work],
            env=self.env | env,
            stdout=subprocess.PIPE,
            text=True,
        )

    def warn(self, code, **more):
        """Exit code and output of a job whose command ends with this code on TERM, after the warning signal."""
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        process = self.start(["bash", "-c", WAIT_FOR_TERM.format(code=code, ready=ready)], **more)
        wait_for(ready)
        process.send_signal(signal.SIGUSR1)
        out = process.communicate(timeout=20)[0]
        return process.returncode, out

    def exit_file(self):
        path = self.work / "job.exit"
        return path.read_text() if path.exists() else None


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.mark.parametrize("script, code, returned", [("exit 0", "0", 0), ("exit 3", "3", 3), ("kill -9 $$", "-9", 137)])
def test_the_exit_code_is_left_in_a_file(node, script, code, returned):
    process = node.start(["sh", "-c", script])
    assert (process.wait(timeout=20), node.exit_file()) == (returned, code)


def test_a_command_that_is_not_there_is_named(node):
    out = node.start(["no_such_command"]).communicate(timeout=20)[0]
    assert "error: cannot run no_such_command" in out and node.exit_file() == "127"


def test_threads_are_the_cores_that_slurm_gave(node):
    assert "\n3\n" in node.start(["sh", "-c", "echo $OMP_NUM_THREADS"]).communicate()[0]
    (node.work / "job.exit").unlink()
    assert "\n2\n" in node.start(["sh", "-c", "echo $OMP_NUM_THREADS"], SLURM_CPUS_PER_TASK="2").communicate()[0]


def test_a_command_that_resumes_is_queued_again_without_an_exit_file(node):
    (node.work / "job.exit").write_text("-15")  # of a run before
    code, out = node.warn(143, resume=True)
    assert code != 0 and node.exit_file() is None and "# stopped before the time limit" in out
    assert (node.directory / "scontrol.log").read_text() == "requeue 7\n"


def test_a_command_that_ends_well_in_spite_of_the_warning_has_finished(node):
    assert node.warn(0, resume=True)[0] == 0
    assert node.exit_file() == "0" and not (node.directory / "scontrol.log").exists()


def test_a_command_that_never_finishes_is_not_queued_again_for_ever(node):
    code, out = node.warn(143, resume=True, SLURM_RESTART_COUNT="100")
    assert (code, node.exit_file()) == (143, "143")
    assert "error: restarted 100 times and still not finished" in out


def test_what_ended_well_or_is_no_longer_waited_for_is_not_run_again(node):
    (node.work / "job.exit").write_text("0")
    process = node.start(["touch", str(node.directory / "ran")])
    assert process.wait(timeout=20) == 0 and not (node.directory / "ran").exists()
    process = subprocess.run(
        [sys.executable, LAUNCH.with_name("slurm_job.py"), node.directory / "gone"], env=node.env, check=False
    )
    assert process.returncode == 0
