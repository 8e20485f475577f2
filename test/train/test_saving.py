"""Saving while training goes on: what is written, in which order, when a state is due, and what a failure does."""

import os
import signal
import threading
import time
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from stopped_runs import OVERRIDES, RARELY, AtLast, AtOnce, contents
from tiny_experiment import call, train_and_average, train_arguments

from whisper_er.base.errors import UserError
from whisper_er.bin import train
from whisper_er.config import OptimConfig
from whisper_er.process import distributed
from whisper_er.step.optimizer import make_optimizer
from whisper_er.train import saver, trainer
from whisper_er.train.checkpoints import checkpoints
from whisper_er.train.experiment import STATE, read_best
from whisper_er.train.saver import Saver
from whisper_er.train.training_state import previous, read_state, usable_state
from whisper_er.train.validation import Validation

pytestmark = pytest.mark.usefixtures("no_git")


def small_saver() -> Saver:
    """Of a model that has made a step."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(model, OptimConfig())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return Saver(model, optimizer, torch.device("cpu"))


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(saver, "Thread", AtOnce)


def test_what_is_written_is_what_was_there_when_it_was_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(saver, "Thread", AtLast)
    saving = small_saver()
    weight, values = saving.model.weight.detach().clone(), {"step": 1}
    moment = saving.optimizer.state[saving.model.weight]["exp_avg"].clone()
    saving.save(tmp_path / "checkpoint", tmp_path / "state.safetensors", values, then=lambda: None)
    values["step"] = 2
    saving.model(torch.ones(1, 3)).sum().backward()
    saving.optimizer.step()
    assert not list(tmp_path.iterdir())
    saving.wait()
    usable_state(tmp_path / "state.safetensors")  # it matches its digest
    state = read_state(tmp_path / "state.safetensors")
    assert state.values["step"] == 1 and not torch.equal(weight, saving.model.weight)
    assert torch.equal(load_file(tmp_path / "checkpoint")["weight"], weight)
    assert torch.equal(state.tensor("model.weight"), weight)
    assert torch.equal(state.tensor("optimizer.0.exp_avg"), moment)


def test_the_copies_lie_in_the_same_memory_at_every_save(tmp_path):
    saving, places = small_saver(), []
    for state in (tmp_path / "state", None, tmp_path / "state"):
        saving.save(tmp_path / "checkpoint", state, {}, then=lambda: None)
        places.append({name: buffer.data_ptr() for name, buffer in saving.buffers.items()})
    saving.wait()
    assert places[0] == places[1] == places[2] and len(places[0]) == 2 + 2 * 3


def test_a_save_waits_for_the_one_before_and_its_parts_are_written_in_order(tmp_path):
    saving, first = small_saver(), threading.Event()
    order = []

    def noted(name, do):
        return lambda *args, **kwargs: (order.append(name), time.sleep(0.02), do(*args, **kwargs))

    with mock.patch.object(saver, "save_weights", noted("checkpoint", saver.save_weights)), \
            mock.patch.object(saver, "save_state", noted("state", saver.save_state)):  # fmt: skip
        saving.save(tmp_path / "a", tmp_path / "state", {}, then=noted("best.json", first.set))
        assert not first.is_set()
        saving.save(tmp_path / "b", None, {}, then=noted("best.json", lambda: None))
        assert first.is_set()
        saving.wait()
    assert order == ["checkpoint", "state", "best.json", "checkpoint", "best.json"]


def test_the_files_do_not_depend_on_when_states_are_saved(corpus, whole, tmp_path):
    found = contents(train_and_average(corpus, tmp_path, *OVERRIDES, RARELY))
    assert {**found, "config.yaml": ""} == {**whole, "config.yaml": ""}


FAILURES = {"UserError": UserError("state: cannot be written: no space"), "OSError": OSError(28, "No space", "state")}


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("max_steps, ends_at", [(10, 4), (4, 4)])
def test_a_failure_ends_training_at_the_next_step_and_at_the_end(corpus, tmp_path, at_once, kind, max_steps, ends_at):
    steps, step = [], trainer.Trainer.step

    def count(*args):
        steps.append(1)
        return step(*args)

    with mock.patch.object(trainer.Trainer, "step", count), \
            mock.patch.object(saver, "save_state", side_effect=FAILURES[kind]), \
            pytest.raises(type(FAILURES[kind])) as caught:  # fmt: skip
        call(train, *train_arguments(corpus, tmp_path, *OVERRIDES, f"max_steps={max_steps}"))
    assert caught.value is FAILURES[kind] and len(steps) == ends_at
    assert not (tmp_path / STATE).exists() and not (tmp_path / "checkpoints/best.json").exists()


def test_a_failure_is_told_before_a_stop_that_would_seem_saved(corpus, tmp_path):
    def fail_and_signal(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)  # training goes on, and meets the signal first
        raise FAILURES["UserError"]

    with mock.patch.object(saver, "save_state", fail_and_signal), pytest.raises(UserError, match="no space"):
        call(train, *train_arguments(corpus, tmp_path, *OVERRIDES))


def looks(corpus, exp_dir, *overrides: str) -> list[tuple]:
    """Train with validations every 4 minutes, each better than the one before. What the disk holds before the second
    and every later one: the steps of the states, the newest first, of the checkpoints, and of best.json."""
    found, now = [], 0.0

    def validate(model, *_):
        nonlocal now
        now += 4 * 60
        if (exp_dir / STATE).is_file():
            states = [read_state(path).values["progress"]["step"]
                      for path in (exp_dir / STATE, previous(exp_dir / STATE)) if path.is_file()]  # fmt: skip
            files = sorted(int(path.stem.removeprefix("step")) for path in checkpoints(exp_dir))
            found.append((states, files, [entry["step"] for entry in read_best(exp_dir)["best"]]))
        model.train()
        return Validation(1.0, {"asr": 0.0, "gender": 1.0, "emotion": now / 1e4}, {"emotion": 0.5})

    options = ["max_steps=9", "valid_interval=1", "batch_size=2", *overrides]
    with (
        mock.patch.object(trainer, "validate", validate),
        mock.patch.object(saver, "time", SimpleNamespace(monotonic=lambda: now)),
    ):
        call(train, *train_arguments(corpus, exp_dir, *options))
    return found


def test_a_state_is_saved_at_the_first_validation_after_save_interval_and_best_json_at_each(corpus, tmp_path, at_once):
    found = looks(corpus, tmp_path, "save_interval=10", "n_best=9")
    assert [states[0] for states, _, _ in found] == [1, 1, 1, 4, 4, 4, 7, 7]
    assert [best[0] for _, _, best in found] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_all_processes_save_a_state_where_the_main_one_says_so(corpus, tmp_path):
    """And so take part in gathering it."""
    with mock.patch.object(distributed, "from_main", lambda value: False if isinstance(value, bool) else value):
        call(train, *train_arguments(corpus, tmp_path, "save_interval=0"))
    assert checkpoints(tmp_path) and not (tmp_path / STATE).exists()


def test_checkpoints_stay_as_long_as_a_state_lists_them_and_states_are_saved_so_that_they_may_go(
    corpus, tmp_path, at_once
):
    found = looks(corpus, tmp_path, "save_interval=10", "n_best=2")
    assert found == [
        ([1], [1], [1]),
        ([1], [1, 2], [2, 1]),
        ([1], [1, 2, 3], [3, 2]),
        ([4, 1], [1, 3, 4], [4, 3]),  # 12 minutes
        ([4, 1], [1, 3, 4, 5], [5, 4]),
        ([6, 4], [3, 4, 5, 6], [6, 5]),  # else 1, 3 and 4 would be kept for states alone
        ([7, 6], [5, 6, 7], [7, 6]),  # else 3, 4 and 5
        ([7, 6], [5, 6, 7, 8], [8, 7]),
    ]
