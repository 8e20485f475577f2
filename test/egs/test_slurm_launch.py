"""utils/launch.py --backend slurm on a real Slurm (tools/slurm)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launched import AWKWARD, SHOW, is_alive, kill_the_caller_of, wait_for
from slurm_jobs import CONF, command, conf_with, job_id, start

ALL_REDUCE = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
total = torch.tensor(dist.get_rank() + 1)
dist.all_reduce(total)
print(f"node {os.environ['SLURM_NODEID']} rank {dist.get_rank()} total {total}\\n", end="", flush=True)
dist.destroy_process_group()
"""
# Begins and saves its state when it is told to end; a second run finds the state and finishes.
RESUMABLE = """
import pathlib, signal, sys, time
state = pathlib.Path(sys.argv[1])
done = state.exists()
def save(*_):
    time.sleep(float(sys.argv[2]))
    state.write_text("half")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("goes on" if done else "begins", flush=True)
time.sleep(0 if done else 200)
"""


def launch(env, *args, conf=CONF, cwd=None):
    return subprocess.run(
        command(*args, conf=conf), check=False, capture_output=True, text=True, timeout=120, env=env, cwd=cwd
    )


def running(env) -> str:
    return subprocess.run(["squeue", "-h", "-o", "%i %T"], env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module", autouse=True)
def slow(slurm, tmp_path_factory):
    """Two jobs that run into their limits, which takes Slurm more than a minute: started before the other tests."""
    here = tmp_path_factory.mktemp("slow")
    conf = conf_with(here, "option resume=true --requeue --signal=B:USR1@50")
    limit = ("--time", "00:01:00")
    jobs = {
        "timeout": start(slurm, *limit, "--name", "train", here / "timeout.log", "sleep", 200),
        "resume": start(
            slurm,
            *limit,
            "--resume",
            here / "resume.log",
            sys.executable,
            "-c",
            RESUMABLE,
            here / "state",
            0,
            conf=conf,
        ),
    }
    yield here, jobs
    for process in jobs.values():
        process.terminate()
        process.wait()


def test_arguments_reach_the_command_as_they_are(slurm, tmp_path):
    args = [*AWKWARD, "new\nline", "100%", "back\\slash"]
    log = tmp_path / "new 'dir' %j" / 'a "%a".log'
    done = launch(slurm, log, sys.executable, "-c", SHOW, *args)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = log.read_text().split("\n")
    assert str(args) in lines
    assert lines[0].startswith("# ") and lines[-2].endswith("exit code 0")
    assert os.listdir(log.parent) == [log.name]


def test_a_log_that_slurm_would_write_elsewhere_is_refused(slurm, tmp_path):
    done = launch(slurm, tmp_path / "a\\b.log", "true")
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/a\\b.log: Slurm cannot write to a path with a backslash\n"
    assert launch(slurm, "JOB=01,02", tmp_path / "JOB.log", "true").returncode == 1


@pytest.mark.parametrize("gpus, visible", [(0, {""}), (1, {"0", "1"}), (2, {"0,1"})])
def test_environment_directory_threads_and_gpus_are_the_jobs(slurm, tmp_path, gpus, visible):
    code = "import json, os; print(json.dumps([os.getcwd(), dict(os.environ)]))"
    env = slurm | {
        "HF_HOME": "/some 'where'\nelse",
        "OMP_NUM_THREADS": "64",
        "CUDA_VISIBLE_DEVICES": "7",
        "SLURM_ARRAY_TASK_ID": "9",
        "SLURM_MEM_PER_CPU": "1",
    }  # as within a job
    done = launch(env, "--num_threads", 2, "--gpu", gpus, "a.log", sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    directory, seen = json.loads((tmp_path / "a.log").read_text().splitlines()[2])
    assert directory == str(tmp_path)
    assert (seen["HF_HOME"], seen["OMP_NUM_THREADS"]) == (env["HF_HOME"], "2")
    assert seen["CUDA_VISIBLE_DEVICES"] in visible


def test_a_failure_shows_the_end_of_its_log_and_cancels_what_waits(slurm, tmp_path):
    code = "import sys, time; sys.exit('error: no such file') if 'JOB' == '2' else time.sleep(4); print('done')"
    done = launch(
        slurm, "--max_jobs_run", 2, "--name", "train", "JOB=1:6", tmp_path / "JOB.log", sys.executable, "-c", code
    )
    assert done.returncode == 1
    shown, summary = done.stderr.splitlines()
    assert shown == "error: no such file"
    assert re.fullmatch(rf"train: 1 of 6 failed; log: {tmp_path}/2.log \(job \d+_2: FAILED, exit code 1\)", summary)
    ran = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    assert len(ran) < 6
    assert all("done\n" in text for name, text in ran.items() if name != "2.log")
    assert not list(tmp_path.glob(".launch*"))


def test_no_more_jobs_run_at_once_than_allowed(slurm, tmp_path):
    code = (
        "import os, time; d = os.environ['D']; open(d + '/runJOB', 'w').close(); time.sleep(0.3); "
        "print('seen', len([f for f in os.listdir(d) if f.startswith('run')])); os.remove(d + '/runJOB')"
    )
    done = launch(
        slurm | {"D": str(tmp_path)},
        "--max_jobs_run",
        2,
        "JOB=1,2,3,5",
        tmp_path / "JOB.log",
        sys.executable,
        "-c",
        code,
    )
    assert done.returncode == 0, done.stderr
    seen = [(tmp_path / f"{n}.log").read_text().split("seen ")[1][0] for n in (1, 2, 3, 5)]
    assert max(seen) <= "2"


def test_a_job_that_somebody_cancels_is_named(slurm, tmp_path):
    process = start(slurm, tmp_path / "a.log", "sleep", 100)
    subprocess.run(["scancel", job_id(tmp_path / "a.log")], env=slurm, check=True)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "1 of 1 failed" in stderr and ": CANCELLED" in stderr


def test_a_job_whose_runner_is_killed_is_noticed(slurm, tmp_path):
    done = launch(slurm, tmp_path / "a.log", "sh", "-c", "kill -9 $PPID")
    assert done.returncode == 1
    assert ": FAILED" in done.stderr


def test_what_slurm_refuses_is_one_line_and_leaves_nothing(slurm, tmp_path):
    for options, conf, reason in [
        (("--gpu", 9), CONF, "Requested node configuration is not available"),
        (("JOB=1:5000",), CONF, "Invalid job array specification"),
        ((), conf_with(tmp_path, "option gpu=0 --partition=none"), "invalid partition"),
    ]:
        done = launch(slurm, *options, tmp_path / "logs/JOB.log", "true", conf=conf)
        assert done.returncode == 1
        assert done.stderr.startswith("error: sbatch ") and reason in done.stderr and done.stderr.count("\n") == 1
        assert not os.listdir(tmp_path / "logs")


def test_ctrl_c_cancels_and_waits(slurm, tmp_path):
    process = start(slurm, "JOB=1:2", tmp_path / "JOB.log", "bash", "-c", f"echo $$ >{tmp_path}/pid.JOB; sleep 60")
    pids = [int(wait_for(tmp_path / f"pid.{n}")) for n in (1, 2)]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 128 + signal.SIGINT
    assert not any(map(is_alive, pids))
    assert job_id(tmp_path / "1.log") not in running(slurm)
    assert not list(tmp_path.glob(".launch*"))


def test_jobs_are_cancelled_when_the_script_that_launched_them_is_killed(slurm, tmp_path):
    kill_the_caller_of(command, tmp_path, slurm)


def test_torchrun_finds_the_other_node(slurm, tmp_path):
    (tmp_path / "reduce.py").write_text(ALL_REDUCE)
    torchrun = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", 2, tmp_path / "reduce.py"]
    env = slurm | {"GLOO_SOCKET_IFNAME": "lo"}  # both nodes are this machine
    done = launch(env, "--num_nodes", 2, tmp_path / "a.log", *torchrun)
    assert done.returncode == 0, done.stderr
    said = [line for line in (tmp_path / "a.log").read_text().splitlines() if line.startswith("node ")]
    assert sorted(said) == [f"node {rank // 2} rank {rank} total 10" for rank in range(4)]
    done = launch(env, tmp_path / "b.log", *torchrun[:1], "--standalone", *torchrun[1:])
    assert done.returncode == 0, done.stderr


def test_a_job_fails_when_one_of_its_nodes_does(slurm, tmp_path):
    done = launch(slurm, "--num_nodes", 2, tmp_path / "a.log", "sh", "-c", "exit $((PET_NODE_RANK * 3))")
    assert done.returncode == 1
    assert ": FAILED, exit code 3)" in done.stderr


def test_nodes_are_stopped_together_and_leave_each_other_time_to_save(slurm, tmp_path):
    # The first node takes 3 seconds to save, the second none. Job 1 is not to be touched by what happens to job 2.
    script = (
        f'[ JOB = 2 ] || exec sleep 8; exec "$0" -c "$1" {tmp_path}/state.$PET_NODE_RANK $((3 - PET_NODE_RANK * 3))'
    )
    process = start(
        slurm,
        "--resume",
        "--num_nodes",
        2,
        "JOB=1:2",
        tmp_path / "JOB.log",
        "sh",
        "-c",
        script,
        sys.executable,
        RESUMABLE,
    )
    log = tmp_path / "2.log"
    while wait_for(log).count("begins\n") < 2:
        time.sleep(0.1)
    subprocess.run(["scancel", "--batch", "--signal=USR1", f"{job_id(log)}_2"], env=slurm, check=True)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert log.read_text().count("goes on\n") == 2
    assert "restart" not in (tmp_path / "1.log").read_text()


def test_a_preempted_job_is_waited_for_until_it_has_run_again(slurm, tmp_path):
    victim = start(
        slurm,
        "--gpu",
        2,
        "--num_nodes",
        2,
        tmp_path / "a.log",
        "sh",
        "-c",
        f"[ -e {tmp_path}/urgent ] || {{ echo began >>{tmp_path}/began; sleep 100; }}",
    )
    wait_for(tmp_path / "began")
    urgent = conf_with(tmp_path, "option gpu=* --partition=urgent --gres=gpu:$0")
    done = launch(slurm, "--gpu", 2, tmp_path / "urgent.log", "touch", tmp_path / "urgent", conf=urgent)
    assert done.returncode == 0, done.stderr
    _, stderr = victim.communicate(timeout=60)
    assert victim.returncode == 0, stderr
    assert "restart 1" in (tmp_path / "a.log").read_text()


def test_a_command_that_resumes_is_stopped_before_the_limit_and_queued_again(slow):
    here, jobs = slow
    _, stderr = jobs["resume"].communicate(timeout=120)
    assert jobs["resume"].returncode == 0, stderr
    log = (here / "resume.log").read_text()
    told = ["begins\n", "exit code 143\n", "# stopped before the", "restart 1\n", "goes on\n", "exit code 0\n"]
    assert all(text in log for text in told) and sorted(told, key=log.find) == told


def test_a_job_that_hits_its_time_limit_is_named(slow):
    here, jobs = slow
    _, stderr = jobs["timeout"].communicate(timeout=150)
    assert jobs["timeout"].returncode == 1
    assert "train: 1 of 1 failed" in stderr and ": TIMEOUT" in stderr
    assert "DUE TO TIME LIMIT" in (here / "timeout.log").read_text()
