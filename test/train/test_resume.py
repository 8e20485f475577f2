"""A run that is stopped at any moment and started again ends bit-equal to one that was not."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
import torch
from stopped_runs import OVERRIDES, RARELY, AtLast, AtOnce, StopAt, Stopped, contents
from tiny_experiment import call, train_and_average, train_arguments

from whisper_er.bin import train
from whisper_er.process import device

pytestmark = pytest.mark.usefixtures("no_git")


def test_the_same_seed_gives_bit_equal_files_and_another_seed_does_not(corpus, whole, tmp_path):
    assert contents(train_and_average(corpus, tmp_path / "again", *OVERRIDES)) == whole
    other = contents(train_and_average(corpus, tmp_path / "other", *OVERRIDES, "seed=2"))
    ours = {name for name in whole if name.endswith(".safetensors")}
    assert ours and all(other.get(name) != whole[name] for name in ours)


def test_the_files_do_not_depend_on_the_number_of_reading_processes(corpus, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(device, "cores", lambda: 99)
    found = contents(train_and_average(corpus, tmp_path / "exp", *OVERRIDES, "num_workers=1"))
    assert {**found, "config.yaml": ""} == {**whole, "config.yaml": ""}


def test_the_run_has_what_the_stops_are_to_meet(whole):
    entries = whole["metrics.jsonl"]
    assert [(entry["step"], "valid" in entry) for entry in entries] == [
        (3, False), (4, True), (6, False), (8, True), (9, False), (10, True)
    ]  # fmt: skip
    assert len([name for name in whole if name.startswith("checkpoints/step")]) == 1
    assert len({entry["lr"] for entry in entries if "lr" in entry}) == 3  # warm-up, full, after the plateau


@pytest.mark.parametrize("writer, rarely", [(AtOnce, []), (AtLast, [RARELY])])
def test_a_run_stopped_between_any_two_steps_writes_or_removals_ends_as_if_it_had_not_stopped(
    corpus, whole, tmp_path, writer, rarely
):
    overrides = [*OVERRIDES, *rarely]
    for moment in itertools.count(1):
        exp_dir = tmp_path / f"exp{moment}"
        with StopAt(moment, writer) as stop:
            try:
                call(train, *train_arguments(corpus, exp_dir, *overrides))
            except Stopped:
                pass
        if stop.count < moment:
            break
        found = contents(train_and_average(corpus, exp_dir, *overrides))
        assert {**found, "config.yaml": ""} == {**whole, "config.yaml": ""}, f"stopped before action {moment}"
    # 10 steps, 6 records, 4 files at each of 3 validations, one of which saves no state in a run that does so rarely.
    assert moment > 27


def test_a_run_stopped_again_and_again_gets_there(corpus, whole, tmp_path):
    for moment in (9, 15, 12):
        with StopAt(moment), pytest.raises(Stopped):
            call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole


def test_a_killed_process_goes_on_where_it_was(corpus, tmp_path):
    exp_dir, more = tmp_path / "killed", [*OVERRIDES, "max_steps=60", "patience=100"]
    arguments = train_arguments(corpus, exp_dir, *more)
    command = [sys.executable, "-m", "whisper_er.bin.train", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while "step 9/" not in process.stdout.readline():
        assert time.monotonic() < deadline and process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "valid_emotion_accuracy.ave_1best.safetensors" not in os.listdir(exp_dir)
    assert not json.loads((exp_dir / "checkpoints" / "best.json").read_text())["best"][0]["step"] == 60
    assert contents(train_and_average(corpus, exp_dir, *more)) == contents(
        train_and_average(corpus, tmp_path / "whole", *more)
    )


def test_a_finished_run_that_is_started_again_changes_nothing_and_reads_no_audio(corpus, whole, tmp_path, capsys):
    exp_dir = train_and_average(corpus, tmp_path / "exp", *OVERRIDES)
    with mock.patch("whisper_er.data.collate.load_samples", side_effect=AssertionError("audio was read")):
        train_and_average(corpus, exp_dir, *OVERRIDES)
    assert contents(exp_dir) == whole
    assert "ended before: max_steps=10 reached" in capsys.readouterr().out


def test_what_was_recorded_after_the_last_validation_is_not_recorded_twice(corpus, tmp_path):
    with StopAt(10), pytest.raises(Stopped):  # the step after the log line of step 6
        call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [3, 4, 6, 8, 9, 10]


def test_a_line_that_a_kill_cut_short_is_removed(corpus, whole, tmp_path):
    with StopAt(10), pytest.raises(Stopped):
        call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "tra')
    assert contents(train_and_average(corpus, tmp_path, *OVERRIDES)) == whole


def test_a_resumed_run_pads_every_batch_as_if_it_had_not_stopped(corpus, tmp_path):
    more = [*OVERRIDES, "model.train_pad={none: 0.5, to 2: 0.5}"]
    whole = contents(train_and_average(corpus, tmp_path / "whole", *more))
    with StopAt(13), pytest.raises(Stopped):  # behind the first validation
        call(train, *train_arguments(corpus, tmp_path / "exp", *more))
    assert contents(train_and_average(corpus, tmp_path / "exp", *more)) == whole


@pytest.mark.parametrize("bucketing", [True, False])
def test_a_resumed_run_draws_the_groups_as_if_it_had_not_stopped(corpus, tmp_path, capsys, bucketing):
    more = [*OVERRIDES, "sampling.rule=balanced", "sampling.by=emotion", "accum_grad=2", "batch_size=2",
            f"bucketing={bucketing}", "augment.speed={}"]  # fmt: skip
    whole = contents(train_and_average(corpus, tmp_path / "whole", *more))
    assert capsys.readouterr().out.count("sampling: balanced by emotion: happy 5 -> 6, sad 6 -> 5\n") == 1
    with StopAt(13), pytest.raises(Stopped):  # behind the first validation, within the second epoch
        call(train, *train_arguments(corpus, tmp_path / "exp", *more))
    assert contents(train_and_average(corpus, tmp_path / "exp", *more)) == whole
