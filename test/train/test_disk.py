"""What a run leaves on the disk, whenever it is killed, and how much that is."""

import itertools
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from stopped_runs import StopAt, Stopped, contents
from tiny_experiment import call, decode_arguments, train_and_average, train_arguments

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.base.weights import load_weights
from whisper_er.bin import average, decode, train
from whisper_er.config import TrainConfig
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train import disk, experiment, trainer
from whisper_er.train.experiment import STATE, ended, fold_state
from whisper_er.train.training_state import previous

SHORT = ["max_steps=4", "valid_interval=1", "n_best=3", "valid.select=loss"]
MEAN = "valid_loss.ave_3best.safetensors"
pytestmark = pytest.mark.usefixtures("no_git")


def weights(exp_dir: Path) -> list[str]:
    """Names of the large files, the link ave.safetensors apart."""
    paths = [path for path in exp_dir.rglob("*.safetensors") if not path.is_symlink()]
    return sorted(str(path.relative_to(exp_dir)) for path in paths)


def listed(exp_dir: Path) -> list[str]:
    """The checkpoints that best.json lists, the best first."""
    best = json.loads((exp_dir / "checkpoints/best.json").read_text())["best"]
    return [f"checkpoints/step{entry['step']:06d}.safetensors" for entry in best]


@pytest.fixture(scope="module")
def untouched(corpus, tmp_path_factory):
    """A finished training that has not been averaged."""
    exp_dir = tmp_path_factory.mktemp("disk") / "exp"
    call(train, *train_arguments(corpus, exp_dir, *SHORT))
    return exp_dir


@pytest.fixture
def exp_dir(untouched, tmp_path):
    return shutil.copytree(untouched, tmp_path / "exp")


def test_a_finished_training_keeps_no_state_and_an_averaged_one_its_mean_and_its_best(exp_dir):
    assert weights(exp_dir) == sorted(listed(exp_dir)) and len(listed(exp_dir)) == 3
    assert ended(exp_dir) == "max_steps=4 reached" and fold_state(exp_dir, Path("decode/test")) == "trained"
    call(average, "--exp_dir", exp_dir)
    assert weights(exp_dir) == [listed(exp_dir)[0], MEAN]
    assert os.readlink(exp_dir / "ave.safetensors") == MEAN


def test_keep_checkpoints_keeps_all_and_changes_no_weight(corpus, exp_dir, tmp_path):
    kept = train_and_average(corpus, tmp_path / "kept", *SHORT, "keep_checkpoints=true")
    assert weights(kept) == sorted([*listed(kept), STATE, MEAN]) and len(listed(kept)) == 3
    call(average, "--exp_dir", exp_dir)
    for name in weights(exp_dir):
        assert (exp_dir / name).read_bytes() == (kept / name).read_bytes()


def test_a_training_started_again_after_its_end_trains_nothing(corpus, exp_dir, capsys):
    call(average, "--exp_dir", exp_dir)
    for path in (exp_dir / "checkpoints").glob("*.safetensors"):
        path.unlink()  # by hand
    before = contents(exp_dir)
    call(train, *train_arguments(corpus, exp_dir, *SHORT))
    assert contents(exp_dir) == before
    assert "training ended before: max_steps=4 reached" in capsys.readouterr().out


def test_a_state_that_is_left_of_a_finished_training_goes_when_it_is_called_again(corpus, exp_dir):
    for path in (exp_dir / STATE, previous(exp_dir / STATE)):
        path.touch()
    call(train, *train_arguments(corpus, exp_dir, *SHORT))
    assert weights(exp_dir) == sorted(listed(exp_dir))


@pytest.mark.parametrize("n_best", [1, 2])
def test_killed_at_any_moment_of_its_end_and_of_averaging_it_leaves_the_same_files(corpus, tmp_path, n_best):
    options = ["max_steps=3", "valid_interval=1", f"n_best={n_best}", "valid.select=loss"]
    whole = contents(train_and_average(corpus, tmp_path / "whole", *options))
    assert len([name for name in whole if name.endswith(".safetensors")]) == 3  # the mean by two names, the best
    step = trainer.Trainer.step
    with mock.patch.object(trainer.Trainer, "step", autospec=True) as stepping, pytest.raises(Stopped):
        stepping.side_effect = lambda self, *args: step(self, *args) if self.progress.step < 2 else stop()
        call(train, *train_arguments(corpus, tmp_path / "before", *options))
    for moment in itertools.count(1):
        exp_dir = shutil.copytree(tmp_path / "before", tmp_path / f"exp{moment}")
        with StopAt(moment) as stopped:
            try:
                train_and_average(corpus, exp_dir, *options)
            except Stopped:
                pass
        if stopped.count < moment:
            break
        assert contents(train_and_average(corpus, exp_dir, *options)) == whole, f"stopped before action {moment}"
    assert moment > 10, "it writes a record, a checkpoint, best.json, the mean and its link, and removes files"


def stop() -> None:
    raise Stopped


def test_the_mean_of_one_checkpoint_is_that_file_or_a_copy_where_there_are_no_links(corpus, tmp_path):
    for name, linking in (("linked", os.link), ("copied", mock.Mock(side_effect=OSError("no links")))):
        with mock.patch.object(os, "link", linking):
            train_and_average(corpus, tmp_path / name, *SHORT, "n_best=1")
        [best] = (tmp_path / name / "checkpoints").glob("*.safetensors")
        mean = tmp_path / name / "ave.safetensors"
        assert mean.samefile(best) == (name == "linked") and mean.read_bytes() == best.read_bytes()
        assert not list((tmp_path / name).rglob("*.tmp"))


def test_averaged_again_it_writes_nothing(exp_dir, capsys):
    call(average, "--exp_dir", exp_dir)
    before = {path: path.lstat().st_mtime_ns for path in exp_dir.rglob("*")}
    call(average, "--exp_dir", exp_dir)
    assert {path: path.lstat().st_mtime_ns for path in exp_dir.rglob("*")} == before
    assert "averaged before" in capsys.readouterr().out


def test_asked_for_after_training_keep_checkpoints_keeps_them_until_it_is_taken_back(corpus, exp_dir):
    call(train, *train_arguments(corpus, exp_dir, *SHORT, "keep_checkpoints=true"))
    call(train, *train_arguments(corpus, exp_dir, *SHORT))  # which is silent about it, and keeps them as well
    call(average, "--exp_dir", exp_dir)
    assert weights(exp_dir) == sorted([*listed(exp_dir), MEAN])
    mean = (exp_dir / MEAN).stat().st_mtime_ns
    call(average, "--exp_dir", exp_dir, "--keep_checkpoints", "false")
    assert weights(exp_dir) == [listed(exp_dir)[0], MEAN] and (exp_dir / MEAN).stat().st_mtime_ns == mean


def test_a_training_that_goes_on_with_keep_checkpoints_keeps_its_state(corpus, tmp_path):
    with StopAt(15), pytest.raises(Stopped):
        call(train, *train_arguments(corpus, tmp_path, *SHORT))
    assert (tmp_path / STATE).is_file()
    train_and_average(corpus, tmp_path, *SHORT, "keep_checkpoints=true")
    assert weights(tmp_path) == sorted([*listed(tmp_path), STATE, MEAN])


def test_keep_checkpoints_can_be_given_to_averaging_alone(exp_dir):
    call(average, "--exp_dir", exp_dir, "--keep_checkpoints", "true")
    assert weights(exp_dir) == sorted([*listed(exp_dir), MEAN])


def refusal(entry_point, *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(entry_point, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_number_of_checkpoints_to_average_is_refused(corpus, exp_dir):
    call(average, "--exp_dir", exp_dir)
    message = refusal(train, *train_arguments(corpus, exp_dir, *SHORT, "n_best=2"))
    assert "n_best: 3 -> 2; give another ser_tag, or remove the directory" in message


def test_a_mean_that_was_copied_before_its_checkpoints_is_made(exp_dir):
    call(average, "--exp_dir", exp_dir)
    os.utime(exp_dir / MEAN, (1, 1))
    call(average, "--exp_dir", exp_dir)
    assert weights(exp_dir) == [listed(exp_dir)[0], MEAN]


def test_a_run_that_another_has_ended_meanwhile_is_left_as_it_is(corpus, exp_dir, monkeypatch, capsys):
    before = weights(exp_dir)
    answers = iter([False] * 3)  # before the model is made
    ended = experiment.ended
    monkeypatch.setattr(experiment, "ended", lambda path: next(answers, None) is None and ended(path))
    call(train, *train_arguments(corpus, exp_dir, *SHORT))
    assert weights(exp_dir) == before and "training ended before: max_steps" in capsys.readouterr().out


def test_a_checkpoint_that_is_gone_is_named_with_those_that_are_left_and_the_way_to_keep_them(corpus, exp_dir):
    best, gone, _ = listed(exp_dir)
    call(average, "--exp_dir", exp_dir)
    line = refusal(decode, *decode_arguments(corpus, exp_dir, exp_dir / "decode", "--model", gone))
    assert f"{exp_dir / gone}: no such checkpoint, there is {Path(best).name}; " in line
    (exp_dir / MEAN).unlink()
    assert refusal(average, "--exp_dir", exp_dir) == line
    assert "train again with keep_checkpoints=true under another ser_tag, or remove the directory" in line


def most_files(exp_dir: Path, run) -> tuple[int, int]:
    """The most checkpoints and states, those half written with them, that a run has at one time."""
    most, replace = [0, 0], os.replace

    def watched(*paths):
        for index, pattern in enumerate(("checkpoints/step*", "state*")):
            files = {path.stat().st_ino for path in exp_dir.glob(pattern)}  # a link takes no room
            most[index] = max(most[index], len(files))
        return replace(*paths)

    with mock.patch.object(os, "replace", watched):
        run()
    return tuple(most)


@pytest.mark.parametrize("keep", [False, True])
def test_the_computed_sizes_are_those_of_the_files(corpus, tmp_path, keep):
    options = [
        *SHORT,
        "max_steps=7",
        "n_best=2",
        "optim.first_moment=bfloat16",
        f"keep_checkpoints={str(keep).lower()}",
    ]
    config, tokenizer = load(TrainConfig, corpus / "train.yaml", options), load_tokenizer(corpus / "token_list")
    size, exp_dir = disk.run_size(build_model(config, tokenizer), config), tmp_path / "exp"
    checkpoints, states = most_files(exp_dir, lambda: call(train, *train_arguments(corpus, exp_dir, *options)))
    assert config.n_best < checkpoints <= size.training.checkpoints and states == size.training.states
    for files in (size.trained, size.averaged):
        assert len(weights(exp_dir)) == files.checkpoints + files.states
        assert sum(tensor_bytes(exp_dir / name) for name in weights(exp_dir)) == files.bytes
        call(average, "--exp_dir", exp_dir)


def tensor_bytes(path: Path) -> int:
    """Of a weights file or a state, but for AdamW's count of steps, one number a parameter."""
    return sum(tensor.nbytes for name, tensor in load_weights(path).items() if not name.endswith(".step"))


def test_a_disk_that_cannot_hold_the_run_is_a_warning_with_the_figures(tmp_path, capsys):
    each = (2 * disk.GB, 5 * disk.GB)
    size = disk.RunSize(disk.Files(4, 3, each), disk.Files(3, 0, each), disk.Files(2, 0, each))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step000001.safetensors").write_bytes(bytes(1000))  # it takes no more room
    for free, warned in ((23 * disk.GB - 1001, True), (23 * disk.GB - 1000, False)):
        with mock.patch.object(shutil, "disk_usage", return_value=SimpleNamespace(free=free)):
            disk.warn_of_full_disk(tmp_path, size)
        said = capsys.readouterr().out
        assert said == warned * (
            f"warning: training needs up to 23.00 GB (4 checkpoints of 2.00, 3 states of 5.00), {tmp_path} has room "
            "for 23.00 GB; make room, or keep fewer checkpoints (n_best)\n"
        )


def test_training_says_so_before_its_first_step(corpus, tmp_path, capsys):
    with mock.patch.object(shutil, "disk_usage", return_value=SimpleNamespace(free=1000)):
        call(train, *train_arguments(corpus, tmp_path, *SHORT))
    lines = capsys.readouterr().out.splitlines()
    [warning] = [n for n, line in enumerate(lines) if line.startswith("warning: training needs up to")]
    assert "starting at step 0" in lines[warning + 1]


def test_an_untrained_model_is_one_file(corpus, tmp_path):
    train_and_average(corpus, tmp_path, "max_steps=0")
    assert weights(tmp_path) == ["checkpoints/step000000.safetensors", "untrained.ave_1best.safetensors"]
    assert (tmp_path / "ave.safetensors").samefile(tmp_path / "checkpoints/step000000.safetensors")
