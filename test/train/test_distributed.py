"""Several processes under torchrun end with the model that one process makes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from launched import LAUNCH
from repository import ROOT
from stopped_runs import OUT_OF_BOUNDS, RARELY
from tiny_experiment import call, change, train_arguments, write_corpus
from tiny_ssl import write_model

from whisper_er.base.weights import load_weights
from whisper_er.bin import token_list as token_list_program
from whisper_er.bin import train
from whisper_er.data import kaldi
from whisper_er.train.experiment import STATE, read_best
from whisper_er.train.training_state import read_state

sys.path.insert(0, str(LAUNCH.parent))
from failure import reason  # noqa: E402

# 11 utterances in batches of 4: the last step of an epoch has 3, of which a fourth process gets none. No dropout: each
# process would draw its own. Of gender, all but two labels are missing: most processes have none in most steps.
OVERRIDES = ["model.whisper_sizes.dropout=0", "batch_size=4", "max_steps=9", "valid_interval=3", "n_best=2",
             "log_interval=3", "valid_batch_size=1", "optim.grad_clip=1"]  # fmt: skip
TOLERANCE = 2e-5
TRAIN = ("-m", "whisper_er.bin.train")
REHEARSED = ROOT / "test/support/rehearsed_training.py"


def start(
    processes: int, *arguments: object, python: Path = Path(sys.executable), program: Sequence[object] = TRAIN
) -> subprocess.Popen:
    command = ["torchrun", "--standalone", "--nproc-per-node", processes, *program, *arguments]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, "PYTHON_EXEC": str(python)}
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                            start_new_session=True)  # fmt: skip


def torchrun(processes: int, *arguments: object, fails: bool = False, **launch: object) -> str:
    process = start(processes, *arguments, **launch)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode != 0) == fails, output[-3000:]
    return output


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = write_corpus(tmp_path_factory.mktemp("distributed") / "corpus")
    labels = kaldi.read_table(root / "train/utt2gender")
    labelled = [utt_id for utt_id, label in labels.items() if label]
    kaldi.write_table(root / "train/utt2gender", dict.fromkeys(labels, "") | {key: labels[key] for key in labelled[:2]})
    return root


@pytest.fixture(scope="module")
def alone(corpus):
    """The directory of a training in one process, made when it is first asked for."""
    made: dict[tuple, Path] = {}

    def train_alone(*overrides: object) -> Path:
        if overrides not in made:
            made[overrides] = corpus / f"alone{len(made)}"
            call(train, *train_arguments(corpus, made[overrides], *OVERRIDES, *overrides))
        return made[overrides]

    return train_alone


def losses(exp_dir: Path) -> list[dict]:
    entries = [json.loads(line) for line in (exp_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in (entry.get("train") or entry["valid"]).items()} for entry in entries]


def assert_same(exp_dir: Path, alone: Path) -> None:
    names = sorted(path.name for path in (alone / "checkpoints").iterdir())
    assert sorted(path.name for path in (exp_dir / "checkpoints").iterdir()) == names
    for name in names:
        if name.endswith(".safetensors"):
            ours, theirs = load_weights(exp_dir / "checkpoints" / name), load_weights(alone / "checkpoints" / name)
            assert ours.keys() == theirs.keys()
            for key in ours:
                torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=TOLERANCE)
    for ours, theirs in zip(losses(exp_dir), losses(alone), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


CASES = {
    "ddp": (2, ["parallel=ddp", RARELY], []),
    "ddp, a process without utterances": (4, ["parallel=ddp"], []),
    "ddp, two passes a step": (2, ["batch_size=2", "accum_grad=2"], []),
    "fsdp": (2, ["parallel=fsdp", RARELY], []),
    "fsdp, layers computed again": (2, ["parallel=fsdp", "activation_checkpointing=true"], []),
    "ddp, the conventional method": (2, [], ["model.kind=encoder_classifier"]),
    "fsdp, a frozen encoder": (2, ["parallel=fsdp"], ["model.kind=encoder_classifier", "freeze=[encoder]",
                                                      "model.layers=weighted", "model.head_width=5"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_processes_share_the_batch_and_end_with_the_same_checkpoints(corpus, alone, tmp_path, warm_python, case):
    processes, layout, system = CASES[case]
    system = [*system, "--token_list", corpus / "label_list"] if system else []
    arguments = train_arguments(corpus, tmp_path, *OVERRIDES, *layout, *system)
    torchrun(processes, *arguments, python=warm_python / "python")
    assert_same(tmp_path, alone(*system))


@pytest.mark.parametrize(
    "processes, layout, fails", [(4, [], -1), (2, ["batch_size=2", "accum_grad=2"], -1), (2, [], 1)]
)
def test_processes_with_graphs_end_with_the_checkpoints_of_one_without(
    corpus, alone, tmp_path, warm_python, processes, fails, layout
):
    arguments = train_arguments(corpus, tmp_path, *OVERRIDES, *layout)
    torchrun(processes, *arguments, python=warm_python / "python", program=[REHEARSED, fails])
    assert_same(tmp_path, alone())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("layout", ["graphs=off", "parallel=fsdp", "graphs=auto"])
def test_gpus_end_with_the_checkpoints_of_the_cpu(corpus, alone, tmp_path, layout):
    gpus = min(2, torch.cuda.device_count())
    arguments = train_arguments(corpus, tmp_path, "--ngpu", gpus, *OVERRIDES, layout)
    torchrun(gpus, *arguments)
    for on_gpu, on_cpu in zip(losses(tmp_path), losses(alone()), strict=True):
        assert on_gpu == pytest.approx(on_cpu, abs=1e-2)


def test_an_encoder_that_drops_layers_trains_with_ddp_and_is_refused_with_fsdp(corpus, tmp_path, warm_python):
    write_model(tmp_path / "ssl", "wav2vec2", "base")
    assert "layerdrop" in (tmp_path / "ssl/config.json").read_text()
    token_list = ["--tasks", "gender emotion", "--token_type", "none", "--out_dir", tmp_path / "labels"]
    call(token_list_program, "--train_set", corpus / "train", *token_list)
    system = ["--token_list", tmp_path / "labels", "--encoder_model", tmp_path / "ssl",
              "model.kind=encoder_classifier", "model.whisper_sizes={}"]  # fmt: skip
    arguments = train_arguments(corpus, tmp_path / "exp", *system, *OVERRIDES[1:])
    torchrun(2, *arguments, python=warm_python / "python")
    assert read_best(tmp_path / "exp")["finished"]
    refused = train_arguments(corpus, tmp_path / "refused", *system, *OVERRIDES[1:], "parallel=fsdp")
    assert "error: parallel=fsdp: this encoder leaves out layers" in torchrun(2, *refused, fails=True)


def test_the_comparison_tells_other_weights_apart(corpus, alone, tmp_path):
    call(train, *train_arguments(corpus, tmp_path, *OVERRIDES, "optim.lr=1.01e-3"))
    with pytest.raises(AssertionError):
        assert_same(tmp_path, alone())


@pytest.mark.parametrize("layouts", [("fsdp", 2, 1), ("ddp", 1, 2)])
def test_a_run_goes_on_in_another_layout(corpus, alone, tmp_path, warm_python, layouts):
    parallel, first, then = layouts
    arguments = train_arguments(corpus, tmp_path, *OVERRIDES, f"parallel={parallel}")
    stop_after_first_validation(first, arguments)
    assert 3 <= read_state(tmp_path / STATE).values["progress"]["step"] < 9
    torchrun(then, *arguments, python=warm_python / "python")
    assert_same(tmp_path, alone())


def test_when_one_process_is_killed_all_end_and_the_next_run_goes_on(corpus, alone, tmp_path, warm_python):
    arguments = train_arguments(corpus, tmp_path, *OVERRIDES, "num_workers=0")
    process = start_until_first_validation(2, *arguments)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and re.match(r"error: rank [01] was ended by SIGKILL", reason(output))
    torchrun(2, *arguments, python=warm_python / "python")
    assert_same(tmp_path, alone())


def start_until_first_validation(processes: int, *arguments: object) -> subprocess.Popen:
    process, deadline = start(processes, *arguments), time.monotonic() + 60
    exp_dir = Path(arguments[arguments.index("--exp_dir") + 1])
    while not (exp_dir / STATE).is_file():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def stop_after_first_validation(processes: int, arguments: list) -> None:
    """TERM to all, as a scheduler sends it: they stop after the same step, and the state is saved there."""
    process = start_until_first_validation(processes, *arguments, "num_workers=0")
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "SIGTERM; started again, it goes on there" in output


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_steps_that_are_not_finite_are_skipped_by_all_and_end_the_run(corpus, tmp_path, parallel):
    overrides = [*OVERRIDES, f"parallel={parallel}", *OUT_OF_BOUNDS, "valid_interval=9"]
    output = torchrun(2, *train_arguments(corpus, tmp_path, *overrides), fails=True)
    assert re.search(r"error: step \d+: the (loss|gradient) is not finite on train-.*; 3 steps in a row", output)
    saved = [path.name for path in (tmp_path / "bad_steps").iterdir()]
    assert len(saved) == 6 and len({name.split(".")[1] for name in saved}) == 2


def test_what_is_wrong_with_one_process_s_data_ends_all_with_its_message(corpus, tmp_path):
    root = shutil.copytree(corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns("alone*"))
    entry = kaldi.read_table(root / "train/wav.scp")["train-03"]
    change(root / "train", "wav.scp", train_03=f"{entry}.gone")
    output = torchrun(2, *train_arguments(root, tmp_path / "exp", *OVERRIDES), fails=True)
    assert re.match(rf"(\[rank[01]\]: )?error: train-03: {entry}.gone: no such file", reason(output))
