"""The mini recipe and real training on a real Slurm of two nodes (tools/slurm)."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from launched import wait_for
from recipe_copy import copy_recipes
from slurm_jobs import CONF, conf_with, job_id, start
from tiny_experiment import call, train_arguments

from whisper_er.base.weights import load_weights
from whisper_er.bin import average, train

SMALL = ("--local_data_opts", "--utterances_per_speaker 8", "--nj", "2")
FEW_STEPS = "max_steps=8 valid_interval=4 log_interval=4 n_best=2 num_workers=0"
LONG = ["max_steps=3000", "valid_interval=500", "patience=100", "log_interval=1000", "num_workers=0", "batch_size=2"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, warm_python) -> Path:
    directory = copy_recipes(tmp_path_factory.mktemp("with space"), warm_python) / "mini_emo/ser1"
    conf = directory / "conf/slurm.conf"
    conf.unlink()  # a link
    conf.write_text(CONF.read_text().replace("default num_threads=4", "default num_threads=1"))
    return directory


def run(recipe: Path, env: dict[str, str], *options: str) -> subprocess.CompletedProcess:
    """GLOO_SOCKET_IFNAME: both nodes are this machine, and may speak on the loopback only."""
    env = env | {"cmd_backend": "slurm", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [recipe / "run.sh", *SMALL, *options],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in env.items() if key != "PYTHONPATH"},
    )


@pytest.fixture(scope="module")
def interrupted(slurm, corpus, tmp_path_factory):
    """A training that its time limit stops, in the background.

    Slurm's warning comes 10 to 40 s after the start, so the training is held for as long; it acts on it when released.
    """
    here = tmp_path_factory.mktemp("interrupted")
    conf = conf_with(here, "option resume=true --requeue --signal=B:USR1@50")
    arguments = map(str, train_arguments(corpus, here / "exp", *LONG))
    process = start(slurm, "--time", "00:01:00", "--resume", "--name", "training", here / "train.log",
                    sys.executable, "-m", "whisper_er.bin.train", *arguments, conf=conf)  # fmt: skip
    held = threading.Thread(target=hold, args=(here / "exp", 45))
    held.start()
    yield here, process
    held.join()
    process.terminate()
    process.wait()


def hold(exp_dir: Path, seconds: int) -> None:
    """Hold the training from its first state on."""
    while not (exp_dir / "state.safetensors").exists():
        time.sleep(0.02)
    pid = int((exp_dir / ".lock").read_text().split()[1])
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def first(slurm, recipe, interrupted) -> str:
    done = run(recipe, slurm, "--folds", "1 2", "--ser_args", FEW_STEPS, "--ser_tag", "x", "--inference_nj", "2",
               "--skip_export", "false")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_stage_runs_as_jobs_and_the_folds_as_one_array(recipe, first):
    for fold in (1, 2):
        exp_dir = recipe / f"exp/x/fold{fold}"
        assert json.loads((exp_dir / "decode_default/test/score/result.json").read_text())["num_utterances"] == 16
        assert (exp_dir / "export/model.safetensors").is_file()
    logs = [*recipe.rglob("*.log")]
    assert len(logs) == 5 + 2 * 2 + 4  # data, format, tokens, average, score; per fold train, export; decoding in 4
    jobs = {path: job_id(path) for path in logs}
    trained = {jobs[path].partition("_")[0] for path in recipe.glob("exp/x/fold*/train.log")}
    assert len(trained) == 1 and len(set(jobs.values())) == 8
    assert not list(recipe.rglob(".launch*"))


def test_a_failing_fold_costs_the_others_nothing(recipe, first, slurm):
    (recipe / "exp/y/fold2").mkdir(parents=True)
    (recipe / "exp/y/fold2/checkpoints").write_text("in the way")
    options = ("--folds", "1 2", "--ser_args", FEW_STEPS, "--ser_tag", "y", "--stage", "3", "--stop_stage", "3")
    done = run(recipe, slurm, *options)
    assert done.returncode == 1
    assert "training: 1 of 2 failed; log: exp/y/fold2/train.log (job " in done.stderr
    assert "error: [Errno 17] File exists: 'exp/y/fold2/checkpoints'" in done.stderr
    assert "training ended: max_steps=8 reached" in (recipe / "exp/y/fold1/train.log").read_text()
    (recipe / "exp/y/fold2/checkpoints").unlink()
    done = run(recipe, slurm, *options)
    assert done.returncode == 0, done.stderr
    assert "training ended before: max_steps=8 reached" in (recipe / "exp/y/fold1/train.log").read_text()


def test_two_nodes_train_one_model(recipe, first, slurm):
    without_dropout = f"{FEW_STEPS} model.whisper_sizes.dropout=0"
    for tag, nodes in (("one", "1"), ("two", "2")):
        done = run(recipe, slurm, "--folds", "1", "--num_nodes", nodes, "--ser_args", without_dropout, "--ser_tag", tag,
                   "--stage", "3", "--stop_stage", "4")  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "2 x cpu" in (recipe / "exp/two/fold1/train.log").read_text()
    one, two = (load_weights(recipe / f"exp/{tag}/fold1/ave.safetensors") for tag in ("one", "two"))
    # Not to the last bit: of a gradient near 0 Adam's first steps, 2e-3 wide, see only the sign.
    differences = torch.cat([(two[name] - one[name]).abs().flatten() for name in one])
    assert differences.mean() < 1e-5 and differences.max() < 1e-2
    losses = [(recipe / f"exp/{tag}/fold1/metrics.jsonl").read_text().splitlines() for tag in ("one", "two")]
    for alone, shared in zip(*losses, strict=True):
        alone, shared = (json.loads(line) for line in (alone, shared))
        assert (shared.get("train") or shared["valid"]) == pytest.approx(alone.get("train") or alone["valid"], abs=1e-2)


def test_a_cancelled_training_is_named_and_goes_on_where_it_was(recipe, first, slurm):
    options = ("--folds", "1", "--ser_tag", "z", "--stage", "3", "--stop_stage", "3")
    env = slurm | {"cmd_backend": "slurm"}
    process = subprocess.Popen([recipe / "run.sh", *SMALL, *options], env=env, stderr=subprocess.PIPE, text=True)
    log = recipe / "exp/z/fold1/train.log"
    while "step 20/" not in wait_for(log):
        assert process.poll() is None
    subprocess.run(["scancel", job_id(log)], env=slurm, check=True)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "training: 1 of 1 failed" in stderr and "CANCELLED" in stderr
    assert "by SIGTERM; started again, it goes on there" in log.read_text()
    step = json.loads((recipe / "exp/z/fold1/metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert step >= 20


def test_a_training_that_two_nodes_share_survives_preemption(slurm, corpus, tmp_path):
    arguments = train_arguments(corpus, tmp_path / "exp", *LONG, "max_steps=1000", "model.whisper_sizes.dropout=0")
    torchrun = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", 1, "-m", "whisper_er.bin.train"]
    victim = start(slurm | {"GLOO_SOCKET_IFNAME": "lo"}, "--gpu", 2, "--num_nodes", 2, "--resume",
                   tmp_path / "train.log", *torchrun, *map(str, arguments))  # fmt: skip
    while "starting at step 0" not in wait_for(tmp_path / "train.log"):
        assert victim.poll() is None
    urgent = conf_with(tmp_path, "option gpu=* --partition=urgent --gres=gpu:$0")
    done = start(slurm, "--gpu", 2, tmp_path / "urgent.log", "true", conf=urgent)
    assert done.wait(timeout=60) == 0
    _, stderr = victim.communicate(timeout=120)
    log = (tmp_path / "train.log").read_text()
    assert victim.returncode == 0, stderr + log[-2000:]
    assert "restart 1" in log and "resumed from" in log and "training ended: max_steps=1000 reached" in log


def test_a_training_longer_than_its_time_limit_ends_bit_equal(interrupted, corpus):
    here, process = interrupted
    _, stderr = process.communicate(timeout=300)
    log = (here / "train.log").read_text()
    assert process.returncode == 0, stderr + log[-2000:]
    assert "# stopped before the time limit, to be queued again" in log and "resumed from" in log
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        call(train, *train_arguments(corpus, here / "whole", *LONG))
    finally:
        torch.set_num_threads(threads)
    for name in ("exp", "whole"):
        call(average, "--exp_dir", here / name)
    assert (here / "exp/ave.safetensors").read_bytes() == (here / "whole/ave.safetensors").read_bytes()
