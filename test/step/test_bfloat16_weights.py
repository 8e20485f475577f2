"""Weights in bfloat16 that are written once a step give what autocast gives, bit for bit, with float32 weights kept."""

import pytest
import torch
from stopped_runs import OVERRIDES, StopAt, Stopped, contents
from tiny_experiment import call, train_and_average, train_arguments
from two_steps import SYSTEMS, trained

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.base.weights import load_weights
from whisper_er.bin import train
from whisper_er.config import TrainConfig
from whisper_er.step.bfloat16_copies import Bfloat16Copies

pytestmark = pytest.mark.usefixtures("no_git")
AUTOCAST, COPIES = "dtype=bfloat16", ("dtype=bfloat16", "bfloat16_weights=true")


@pytest.mark.parametrize(
    "system, options",
    [
        *((system, ()) for system in SYSTEMS),
        ("seq2seq", ("batch_size=1", "accum_grad=3", "optim.grad_clip=0.1")),
        ("seq2seq", ("activation_checkpointing=true", "optim.first_moment=bfloat16", "freeze=[encoder]")),
    ],
)
def test_two_steps_end_at_the_weights_of_autocast(corpus, tmp_path, system, options):
    exact, _ = trained(corpus, tmp_path, system, *options)
    autocast, _ = trained(corpus, tmp_path, system, AUTOCAST, *options)
    copies, _ = trained(corpus, tmp_path, system, *COPIES, *options)
    assert torch.equal(copies, autocast)
    assert not torch.equal(copies, exact)  # bfloat16 makes a difference


def test_a_run_leaves_the_files_of_autocast_though_it_was_stopped_and_went_over_to_copies(corpus, tmp_path):
    autocast = contents(train_and_average(corpus, tmp_path / "autocast", *OVERRIDES, AUTOCAST))
    for moment, options in ((9, [AUTOCAST]), (15, COPIES)):
        with StopAt(moment), pytest.raises(Stopped):
            call(train, *train_arguments(corpus, tmp_path / "copies", *OVERRIDES, *options))
    copies = contents(train_and_average(corpus, tmp_path / "copies", *OVERRIDES, *COPIES))
    assert {**copies, "config.yaml": ""} == {**autocast, "config.yaml": ""}
    weights = load_weights(tmp_path / "copies" / "ave.safetensors").values()
    assert {weight.dtype for weight in weights} == {torch.float32}


@pytest.mark.parametrize("options", [["dtype=float32"], ["dtype=bfloat16", "parallel=fsdp"]])
def test_where_autocast_casts_nothing_or_weights_are_divided_it_is_refused(corpus, options):
    with pytest.raises(UserError, match="with bfloat16_weights"):
        load(TrainConfig, corpus / "train.yaml", [*options, "bfloat16_weights=true"])


def test_linear_and_convolution_layers_have_copies_whose_places_stay():
    """What a graph needs: the same tensors in every step, outside of it the weights."""
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    weights, copies = list(model.parameters()), Bfloat16Copies(model.modules())
    places = []
    for _ in range(2):
        with copies.in_use():
            dtypes = [weight.dtype for weight in model.parameters()]
            places.append([weight.data_ptr() for weight in model.parameters()])
        torch._foreach_add_([weight.data for weight in weights], 1.0)
        copies.write()
    assert dtypes == [torch.bfloat16] * 2 + [torch.float32] * 2 + [torch.bfloat16] * 2
    assert places[0] == places[1]
    assert all(one is two for one, two in zip(model.parameters(), weights))
    with copies.in_use():
        assert all(torch.equal(copy, weight.to(copy.dtype)) for copy, weight in zip(model.parameters(), weights))
