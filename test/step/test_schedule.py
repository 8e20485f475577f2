"""Schedules of the learning rate, against transformers'; one that is added by name; and a run that is stopped."""

import pytest
import torch
from stopped_runs import StopAt, Stopped, contents
from tiny_experiment import call, train_and_average, train_arguments
from transformers import get_scheduler

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.bin import train
from whisper_er.config import OptimConfig
from whisper_er.step.schedule import SCHEDULES, Schedule

THEIRS = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine", "inverse_sqrt": "inverse_sqrt"}
STEPS = 20


def rates(name: str, warmup_steps: int) -> list[float]:
    """The learning rate of each step."""
    config = OptimConfig(lr=0.5, schedule=name, warmup_steps=warmup_steps)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 0.5, "full_lr": 0.5}])
    schedule, rates = SCHEDULES[name](optimizer, config, STEPS), []
    for step in range(STEPS):
        schedule.before_step(step)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("warmup_steps", [0, 5])
@pytest.mark.parametrize("name", THEIRS)
def test_after_the_warm_up_it_is_transformers_and_within_it_theirs_a_step_earlier(name, warmup_steps):
    """Theirs begins with a step at 0, which changes nothing."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = get_scheduler(THEIRS[name], optimizer, num_warmup_steps=warmup_steps, num_training_steps=STEPS)
    expected = [theirs.lr_lambdas[0](step + (step < warmup_steps)) * 0.5 for step in range(STEPS)]
    assert rates(name, warmup_steps) == pytest.approx(expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_warm_up_opens_every_schedule(name):
    assert rates(name, 4)[:4] == pytest.approx([0.125, 0.25, 0.375, 0.5])


def test_the_plateau_is_torch_s_and_waits_for_validations():
    assert rates("plateau", 2)[2:] == [0.5] * (STEPS - 2)


@pytest.mark.usefixtures("no_git")
def test_a_run_by_a_schedule_and_with_other_losses_goes_on_bit_equal_where_it_was_stopped(corpus, tmp_path):
    options = ["optim.schedule=cosine", "optim.warmup_steps=3", "loss.category=focal", "loss.class_weights=inverse",
               "keep_checkpoints=true"]  # fmt: skip
    whole = contents(train_and_average(corpus, tmp_path / "whole", *options))
    assert len({entry["lr"] for entry in whole["metrics.jsonl"] if "lr" in entry}) == 3
    with StopAt(9), pytest.raises(Stopped):
        call(train, *train_arguments(corpus, tmp_path / "stopped", *options))
    assert contents(train_and_average(corpus, tmp_path / "stopped", *options)) == whole


@pytest.mark.usefixtures("no_git")
def test_a_run_that_selects_and_lowers_its_rate_by_the_loss_of_forced_answers_goes_on_bit_equal(corpus, tmp_path):
    """Of batches that are drawn without looking at the length."""
    options = ["valid.select=loss", "optim.plateau_metric=loss", "optim.plateau_patience=0", "optim.lr=1",
               "valid.predict=teacher_forced", "bucketing=false", "n_best=1", "valid_interval=2",
               "keep_checkpoints=true"]  # fmt: skip
    whole = contents(train_and_average(corpus, tmp_path / "whole", *options))
    assert "valid_loss.ave_1best.safetensors" in whole
    assert len({entry["lr"] for entry in whole["metrics.jsonl"] if "lr" in entry}) > 1
    with StopAt(9), pytest.raises(Stopped):
        call(train, *train_arguments(corpus, tmp_path / "stopped", *options))
    assert contents(train_and_average(corpus, tmp_path / "stopped", *options)) == whole


class EveryOther(Schedule):
    """Has a state that only its own saving keeps: how many steps it has seen."""

    seen = 0

    def before_step(self, step):
        self.seen += 1
        self.set_lr(self.seen % 2)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


@pytest.mark.usefixtures("no_git")
def test_one_that_is_registered_is_chosen_by_its_name_and_its_state_is_kept(corpus, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="'steps' is not allowed; allowed: plateau constant linear cosine inverse_sqrt"):
        build(OptimConfig, {"schedule": "steps"}, "train.yaml")
    monkeypatch.setitem(SCHEDULES, "steps", EveryOther)
    run = ["optim.schedule=steps", "log_interval=1", "max_steps=7", "keep_checkpoints=true"]
    whole = contents(train_and_average(corpus, tmp_path / "whole", *run))
    assert [entry["lr"] for entry in whole["metrics.jsonl"] if "lr" in entry] == [1e-3, 0, 1e-3, 0, 1e-3, 0, 1e-3]
    with StopAt(14), pytest.raises(Stopped):
        call(train, *train_arguments(corpus, tmp_path / "stopped", *run))
    assert contents(train_and_average(corpus, tmp_path / "stopped", *run)) == whole
