"""What a cluster does to a training: kills, broken and full disks, vanished files, two runs at once."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import killed_runs
import pytest
import torch
from stopped_runs import OVERRIDES, StopAt, contents
from stopped_runs import Stopped as StoppedByTest
from tiny_experiment import call, change, train_and_average, train_arguments

from whisper_er.audio import reading
from whisper_er.base.errors import UserError
from whisper_er.bin import train
from whisper_er.data import kaldi, shared_memory
from whisper_er.process import ahead
from whisper_er.process.stop import Stopped
from whisper_er.train import trainer, validation
from whisper_er.train.experiment import STATE
from whisper_er.train.training_state import previous, read_state

pytestmark = pytest.mark.usefixtures("no_git")
KILLS = 30
BAD = "train-03"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "whisper_er.bin.train", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_after_a_kill_at_any_moment_and_a_restart_the_averaged_model_is_bit_equal(corpus, tmp_path):
    program = [sys.executable, killed_runs.__file__, corpus, tmp_path, KILLS, *OVERRIDES]
    longer = ["max_steps=20", "patience=100", "n_best=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, program), *longer], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    struck = json.loads(done.stdout)
    assert len(struck) == KILLS and 5 < sum(kill["had_a_state"] for kill in struck)
    expected = final(tmp_path / "whole")
    assert len(expected) == 5
    for kill in struck:
        assert final(tmp_path / kill["run"]) == expected, kill


def final(exp_dir: Path) -> dict[str, bytes]:
    """The averaged model, and what it was averaged from."""
    files = [exp_dir / "ave.safetensors", *exp_dir.glob("*.ave_*"), *(exp_dir / "checkpoints").iterdir()]
    return {path.name: path.read_bytes() for path in files}


def stopped_at(corpus: Path, exp_dir: Path, moment: int) -> None:
    with StopAt(moment), pytest.raises(StoppedByTest):
        call(train, *train_arguments(corpus, exp_dir, *OVERRIDES))


BREAK = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "one bit of a weight": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    "one digit of a plain value": lambda data: data.replace(b'\\"since_better\\": ', b'\\"since_better\\":1', 1),
    "something else": lambda data: b"PK\x03\x04" * 100,
}


@pytest.mark.parametrize("how", BREAK)
def test_a_broken_state_falls_back_to_the_one_before_and_says_so(corpus, whole, tmp_path, how, capsys):
    stopped_at(corpus, tmp_path, 26)  # after the validation at step 8
    state = tmp_path / STATE
    assert read_state(state).values["progress"]["step"] == 8
    assert read_state(previous(state)).values["progress"]["step"] == 4
    broken = BREAK[how](state.read_bytes())
    assert broken != state.read_bytes()
    state.unlink()  # it is one file with another name of it
    state.write_bytes(broken)
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole
    said = capsys.readouterr().out
    assert f"warning: {state}: " in said and "going on from the state before it; resumed from" in said
    assert f"{previous(state).name} at step 4" in said


def test_what_a_kill_left_half_written_is_removed(corpus, whole, tmp_path):
    stopped_at(corpus, tmp_path, 26)
    for name in ("state.safetensors.tmp", ".tmpG2wVjt", "checkpoints/best.json.tmp", "checkpoints/.tmpAbc"):
        (tmp_path / name).write_bytes(b"half")
    call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    (tmp_path / ".tmpOfAverage").write_bytes(b"half")
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole


def test_where_both_states_are_broken_nothing_is_started_anew_behind_the_user_s_back(corpus, tmp_path):
    stopped_at(corpus, tmp_path, 26)
    state = tmp_path / STATE
    for path in (state, previous(state)):
        path.write_bytes(b"no state")
    with pytest.raises(UserError, match="remove .* to start anew") as caught:
        call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    assert str(state) in str(caught.value) and str(previous(state)) in str(caught.value)


def test_asked_to_stop_it_saves_between_validations_and_goes_on_bit_equal(corpus, whole, tmp_path):
    for step in (2, 5, 8):  # each is followed by two more, or by the validation that is due
        do = trainer.Trainer.step

        def step_and_signal(self, *args, step=step, do=do):
            if self.progress.step == step - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return do(self, *args)

        with mock.patch.object(trainer.Trainer, "step", step_and_signal), pytest.raises(Stopped) as caught:
            call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
        assert caught.value.number == signal.SIGTERM
        assert read_state(tmp_path / STATE).values["progress"]["step"] in (step, step + 2)
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole


def test_asked_to_stop_while_it_validates_it_validates_when_it_goes_on(corpus, whole, tmp_path):
    def validate_and_signal(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return do(*args)

    do = trainer.validate
    with mock.patch.object(trainer, "validate", validate_and_signal), pytest.raises(Stopped):
        call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    assert read_state(tmp_path / STATE).values["progress"] == {
        "step": 4, "best": [], "since_better": 0, "validated": 0, "finished": ""
    }  # fmt: skip
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole


@pytest.mark.parametrize("utt_id", [BAD, "valid-01"])
def test_asked_to_stop_while_audio_does_not_come_it_saves(corpus, whole, tmp_path, utt_id, monkeypatch):
    def read(entry, name, do=reading.plain_samples):
        if name == utt_id:
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(100)
        return do(entry, name)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(ahead, "GIVE_UP", 0.1)
        for module in (trainer, validation):
            patch.setattr(module, "reading_processes", lambda *_: 2)
        for module in (reading, shared_memory):
            patch.setattr(module, "plain_samples", read)
        call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole


def test_terminated_the_program_exits_as_the_signal_would_have_it(corpus, whole, tmp_path):
    arguments = train_arguments(corpus, tmp_path, *OVERRIDES, "max_steps=4000", "patience=4000")
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True, env=environment())
    wait_for((tmp_path / STATE).is_file, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "by SIGTERM; started again, it goes on there" in output


def test_two_runs_do_not_share_a_directory(corpus, tmp_path, capsys):
    arguments = train_arguments(corpus, tmp_path, *OVERRIDES, "max_steps=4000", "patience=4000")
    first = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True, env=environment())
    wait_for((tmp_path / STATE).is_file, first)
    with pytest.raises(UserError) as caught:
        call(train, *arguments)
    assert str(caught.value).startswith(f"{tmp_path}: another run works here: process {first.pid} on ")
    assert first.poll() is None
    first.kill()
    first.communicate()
    with StopAt(12), pytest.raises(StoppedByTest):  # what the kill has left half-written goes first
        call(train, *arguments)
    assert "resumed from" in capsys.readouterr().out


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a file system of its own, 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs to mount a file system (root)")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_on_a_full_disk_it_ends_in_one_line_and_goes_on_when_there_is_room(corpus, whole, small_disk):
    exp_dir = small_disk / "exp"
    stopped_at(corpus, exp_dir, 25)
    before = (exp_dir / STATE).read_bytes()
    filler = small_disk / "filler"
    with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1000))
    with pytest.raises((UserError, OSError)) as caught:
        call(train, *train_arguments(corpus, exp_dir, *OVERRIDES))
    assert "No space left on device" in str(caught.value) and "\n" not in str(caught.value)
    assert (exp_dir / STATE).read_bytes() == before
    filler.unlink()
    assert contents(train_and_average(corpus, exp_dir, *OVERRIDES)) == whole


def test_a_state_that_does_not_fit_leaves_the_old_one_and_nothing_half_written(corpus, whole, tmp_path):
    stopped_at(corpus, tmp_path, 26)
    before = (tmp_path / STATE).read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Larger than a checkpoint, smaller than the state, which has three times as much.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
    try:
        with pytest.raises(UserError, match="cannot be written: .*; what was there before is still there"):
            call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / STATE).read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole


def test_a_read_only_directory_is_named_and_training_goes_on_when_it_can_be_written(corpus, whole, small_disk):
    exp_dir = small_disk / "exp"
    stopped_at(corpus, exp_dir, 25)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match=f"Read-only file system: '{exp_dir}"):
        call(train, *train_arguments(corpus, exp_dir, *OVERRIDES))
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert contents(train_and_average(corpus, exp_dir, *OVERRIDES)) == whole


def test_a_directory_that_cannot_be_made_is_named(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=f"'{tmp_path}/file/exp'"):
        call(train, *train_arguments(corpus, tmp_path / "file/exp", *OVERRIDES))


def test_a_file_that_vanishes_is_named_and_training_goes_on_when_it_is_back(corpus, whole, tmp_path):
    root = shutil.copytree(corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns("whole"))
    for name in ("train", "valid"):
        table = kaldi.read_table(root / name / "wav.scp")
        change(root / name, "wav.scp", **{key: value.replace(str(corpus), str(root)) for key, value in table.items()})
    longer = [*OVERRIDES, "max_steps=40", "patience=100"]
    expected = train_and_average(root, tmp_path / "expected", *longer) / "ave.safetensors"
    wav, away, do = root / f"wav/{BAD}.wav", tmp_path / "away.wav", trainer.Trainer.after_validation

    def take_away(self, *args):
        do(self, *args)
        if self.progress.step == 8:
            wav.rename(away)

    arguments = train_arguments(root, tmp_path / "exp", *longer)
    with mock.patch.object(trainer.Trainer, "after_validation", take_away), pytest.raises(UserError) as caught:
        call(train, *arguments)
    assert str(caught.value).startswith(f"{BAD}: {wav}: no such file")
    away.rename(wav)
    ours = train_and_average(root, tmp_path / "exp", *longer) / "ave.safetensors"
    assert ours.read_bytes() == expected.read_bytes()
