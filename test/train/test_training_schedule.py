"""What validations decide: which checkpoints are kept, the learning rate, the end of training."""

import dataclasses
import json
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from tiny_experiment import call, train_arguments
from tiny_whisper import ASR, EMOTION

from whisper_er.base import weights
from whisper_er.base.errors import UserError
from whisper_er.base.packed_strings import PackedStrings
from whisper_er.base.settings import build, load
from whisper_er.bin import average, train
from whisper_er.config import OptimConfig, TrainConfig
from whisper_er.data.utterances import Utterances, read_utterances
from whisper_er.models.base import Model
from whisper_er.models.build import build_model
from whisper_er.step.optimizer import make_optimizer
from whisper_er.task import scale
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train.selection import check_metrics
from whisper_er.train.trainer import Sums, Trainer
from whisper_er.train.validation import Validation, longest_text


def run(corpus: Path, exp_dir: Path, results: list[tuple[float, ...]], *overrides: str) -> tuple[Trainer, list[float]]:
    """Train with a validation after every step, whose (accuracy, loss) or (accuracy, loss, UA) are given; also each
    step's learning rate."""
    short = [f"max_steps={len(results)}", "valid_interval=1", "batch_size=2", "log_interval=1", *overrides]
    config = load(TrainConfig, corpus / "train.yaml", short)
    tokenizer = load_tokenizer(corpus / "token_list")
    torch.manual_seed(config.seed)
    trainer = Trainer(build_model(config, tokenizer), tokenizer, config, exp_dir, torch.device("cpu"))
    given = [
        Validation(loss, {"asr": 0.0, "gender": 1.0, "emotion": accuracy}, dict(zip(["emotion"], ua)))
        for accuracy, loss, *ua in results
    ]
    with mock.patch("whisper_er.train.trainer.validate", side_effect=given):
        trainer.run(read_utterances(corpus / "train", tokenizer, "error"), [])
    entries = [json.loads(line) for line in (exp_dir / "metrics.jsonl").read_text().splitlines()]
    return trainer, [entry["lr"] for entry in entries if "train" in entry]


def kept(exp_dir: Path) -> list[int]:
    """Steps of the listed checkpoints, the best first; the files have to be those and no others."""
    steps = [entry["step"] for entry in json.loads((exp_dir / "checkpoints" / "best.json").read_text())["best"]]
    files = sorted(path.name for path in (exp_dir / "checkpoints").iterdir())
    assert files == ["best.json", *(f"step{step:06d}.safetensors" for step in sorted(steps))]
    return steps


def test_the_n_best_are_kept_in_order_and_the_others_are_removed(corpus, tmp_path):
    run(corpus, tmp_path, [(0.3, 1), (0.7, 1), (0.1, 1), (0.6, 1), (0.9, 1), (0.2, 1)], "n_best=3")
    assert kept(tmp_path) == [5, 2, 4]


def test_among_equal_accuracies_the_lower_validation_loss_is_kept(corpus, tmp_path):
    run(corpus, tmp_path, [(0.5, 3.0), (0.5, 1.0), (0.5, 4.0), (0.4, 0.1), (0.5, 2.0)], "n_best=3")
    assert kept(tmp_path) == [2, 5, 1]


def test_fewer_validations_than_n_best_keep_all(corpus, tmp_path):
    run(corpus, tmp_path, [(0.3, 1), (0.7, 1)], "n_best=10")
    assert kept(tmp_path) == [2, 1]


def test_a_kept_checkpoint_holds_the_weights_of_its_step(corpus, tmp_path):
    trainer, _ = run(corpus, tmp_path / "a", [(0.3, 1), (0.7, 1)], "n_best=2")
    last = weights.load_weights(tmp_path / "a" / "checkpoints" / "step000002.safetensors")
    assert last.keys() == trainer.model.state_dict().keys()
    assert all(torch.equal(weight, last[name]) for name, weight in trainer.model.state_dict().items())
    run(corpus, tmp_path / "b", [(0.3, 1)])
    first, other = (tmp_path / name / "checkpoints" / "step000001.safetensors" for name in "ab")
    assert first.read_bytes() == other.read_bytes() != (tmp_path / "a/checkpoints/step000002.safetensors").read_bytes()


def test_the_accuracy_of_valid_task_selects(corpus, tmp_path):
    run(corpus, tmp_path, [(0.3, 3), (0.7, 2), (0.9, 4)], "n_best=1", "valid_task=gender")
    assert kept(tmp_path) == [2]  # gender is 1.0 in all: the lowest loss
    assert json.loads((tmp_path / "checkpoints/best.json").read_text())["metric"] == "valid_gender_accuracy"


def test_each_metric_ranks_the_checkpoints_and_names_itself(corpus, tmp_path):
    results = [(0.5, 3.0, 0.4), (0.7, 2.0, 0.1), (0.6, 1.0, 0.4), (0.2, 4.0, 0.9)]
    for select, order, metric in (
        ("wa", [2, 3, 1], "valid_emotion_accuracy"),
        ("ua", [4, 3, 1], "valid_emotion_ua"),  # of equal UA the lower loss
        ("loss", [3, 2, 1], "valid_loss"),
    ):
        run(corpus, tmp_path / select, results, "n_best=3", f"valid.select={select}")
        assert kept(tmp_path / select) == order, select
        best = json.loads((tmp_path / select / "checkpoints/best.json").read_text())
        assert best["metric"] == metric
        named = dict(zip(("accuracy", "loss", "ua"), results[order[0] - 1]))
        assert best["best"][0] == {"step": order[0], **named}
        (tmp_path / select / "config.yaml").write_text("{}")
        call(average, "--exp_dir", tmp_path / select)
        assert (tmp_path / select / f"{metric}.ave_3best.safetensors").is_file()


@pytest.mark.parametrize("select, stopped", [("wa", 3), ("ua", 5), ("loss", 4)])
def test_each_metric_ends_training(corpus, tmp_path, select, stopped):
    results = [(0.9, 3, 0.1), (0.5, 2, 0.2), (0.9, 2, 0.3), (0.9, 9, 0.1), (0.9, 9, 0.1), (0.9, 9, 0.1)]
    trainer, _ = run(corpus, tmp_path, results, "patience=2", f"valid.select={select}")
    assert trainer.progress.step == stopped


def test_wa_ua_and_loss_are_recorded_whatever_selects(corpus, tmp_path):
    run(corpus, tmp_path, [(0.5, 3.0, 0.4)], "valid.select=loss")
    [line] = [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "valid" in line]
    accuracies = {"accuracy_asr": 0.0, "accuracy_gender": 1.0, "accuracy_emotion": 0.5}
    assert json.loads(line)["valid"] == {"loss": 3.0, **accuracies, "ua_emotion": 0.4}


@pytest.mark.parametrize("option", ["valid.select", "optim.plateau_metric"])
def test_ua_is_refused_where_the_selecting_task_has_none(corpus, tmp_path, option):
    with pytest.raises(UserError, match=rf"{option}: ua is not allowed with valid_task 'asr', a text.*wa \(1 - WER\)"):
        call(train, *train_arguments(corpus, tmp_path / "exp", f"{option}=ua", "valid_task=asr"))
    assert not (tmp_path / "exp").exists()
    config = build(TrainConfig, {"valid": {"select": "ua"}}, "train.yaml")
    with pytest.raises(UserError, match=r"'valence', a scale, which has no UA; allowed: wa \(CCC\), loss"):
        check_metrics(config, scale("valence", 1, 5, 3))


def test_training_stops_after_patience_validations_without_improvement(corpus, tmp_path):
    results = [(0.1, 1), (0.5, 1), (0.5, 0), (0.4, 1), (0.6, 1), (0.6, 1), (0.1, 1), (0.6, 1), (0.9, 1)]
    trainer, _ = run(corpus, tmp_path, results, "patience=3")
    assert (trainer.progress.step, trainer.progress.finished) == (8, "no improvement in 3 validations")


def test_training_that_improves_in_time_goes_on_to_max_steps(corpus, tmp_path):
    trainer, _ = run(corpus, tmp_path, [(0.1, 1), (0.1, 1), (0.2, 1), (0.1, 1), (0.3, 1), (0.1, 1)], "patience=2")
    assert (trainer.progress.step, trainer.progress.finished) == (6, "max_steps=6 reached")


def test_an_accuracy_that_is_not_a_number_is_the_worst(corpus, tmp_path):
    run(corpus, tmp_path, [(math.nan, 1), (0.1, 1), (math.nan, 1)], "n_best=1")
    assert kept(tmp_path) == [2]


def test_the_learning_rate_falls_by_its_factor_after_plateau_patience_validations(corpus, tmp_path):
    plateau = ["optim.plateau_factor=0.5", "optim.plateau_patience=1"]
    _, rates = run(corpus, tmp_path, [(0.5, 1), (0.4, 1), (0.4, 1), (0.6, 1), (0.4, 1), (0.4, 1), (0.4, 1)], *plateau)
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 5e-4, 2.5e-4])


@pytest.mark.parametrize("metric, lowered", [("wa", [4, 6]), ("ua", [3, 5, 6]), ("loss", [5])])
def test_the_plateau_watches_its_metric_in_the_right_direction(corpus, tmp_path, metric, lowered):
    """lowered: the steps whose rate is half that of the step before. A loss that falls, even below 0, is no plateau."""
    results = [(0.5, 1.0, 0.9), (0.9, 0.5, 0.8), (0.8, -1.0, 0.95), (0.95, -0.9995, 0.9), (0.9, -3, 0.9), (0.9, -4, 1)]
    plateau = ["optim.plateau_factor=0.5", "optim.plateau_patience=0", f"optim.plateau_metric={metric}"]
    _, rates = run(corpus, tmp_path, results, *plateau, "valid.select=loss")
    assert [step for step in range(2, 7) if rates[step - 1] == rates[step - 2] / 2] == lowered


def test_warm_up_rises_linearly_to_the_full_rate_in_every_group(corpus, tmp_path):
    trainer, rates = run(corpus, tmp_path, [(step, 1) for step in range(6)], "optim.warmup_steps=4",
                         "optim.lr_factors={embed_tokens: 10}")  # fmt: skip
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([1e-3, 1e-2])


def test_after_the_warm_up_the_plateau_lowers_every_group(corpus, tmp_path):
    trainer, rates = run(corpus, tmp_path, [(0.5, 1)] * 4, "optim.warmup_steps=2", "optim.plateau_patience=0",
                         "optim.lr_factors={embed_tokens: 10}")  # fmt: skip
    assert rates == pytest.approx([5e-4, 1e-3, 1e-4, 1e-5])
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([1e-6, 1e-5])


def named_rates(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    pairs = [(names[id(p)], group["lr"]) for group in optimizer.param_groups for p in group["params"]]
    assert len(pairs) == len(dict(pairs)), "a parameter in two groups"
    return dict(pairs)


def test_lr_factors_apply_to_the_parameters_whose_name_contains_them_and_to_no_others(corpus):
    tokenizer, config = load_tokenizer(corpus / "token_list"), load(TrainConfig, corpus / "train.yaml")
    model = build_model(config, tokenizer)
    optim = OptimConfig(lr=2.0, lr_factors={"embed_tokens": 10, "decoder": 0.5})
    rates = named_rates(model, make_optimizer(model, optim))
    for name, rate in rates.items():
        assert rate == (20.0 if "embed_tokens" in name else 1.0 if "decoder" in name else 2.0), name
    assert rates.keys() == {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_an_lr_factor_that_fits_no_parameter_is_named(corpus):
    tokenizer, config = load_tokenizer(corpus / "token_list"), load(TrainConfig, corpus / "train.yaml")
    with pytest.raises(UserError, match="no parameter's name contains 'head_'"):
        make_optimizer(build_model(config, tokenizer), OptimConfig(lr_factors={"embed_tokens": 1, "head_": 10}))


@pytest.mark.parametrize("kind, token_list", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])
def test_encoder_positions_are_not_trained_and_everything_else_that_is_used_is(corpus, kind, token_list):
    tokenizer = load_tokenizer(corpus / token_list)
    config = load(TrainConfig, corpus / "train.yaml", [f"model.kind={kind}"])
    torch.manual_seed(1)
    model = build_model(config, tokenizer)
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert frozen == ["audio_encoder.encoder.embed_positions.weight"]
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer = Trainer(model, tokenizer, config, corpus, torch.device("cpu"))
    micro_batches, size = next(trainer.steps(read_utterances(corpus / "train", tokenizer, "error")))
    trainer.step(micro_batches, size, Sums(0))
    same = [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]
    assert same == frozen


def test_the_defaults_of_optimisation_are_the_papers():
    config = dataclasses.asdict(TrainConfig())
    names = ("max_steps", "valid_interval", "patience", "n_best", "batch_size")
    assert [config[name] for name in names] == [24000, 480, 20, 10, 16] and config["optim"]["lr"] == 1e-5


def test_validation_encodes_each_batch_once(corpus, tmp_path, monkeypatch):
    calls, encode = [], Model.encode
    monkeypatch.setattr(Model, "encode", lambda self, batch: calls.append(len(batch)) or encode(self, batch))
    call(train, *train_arguments(corpus, tmp_path / "exp", "max_steps=2", "valid_interval=2", "valid_batch_size=2"))
    assert len(calls) == 4 and calls[2:] == [2, 1]  # two steps, then the 3 validation utterances in two batches


@pytest.mark.parametrize("text, seconds, bound", [
    ("yes", 10, 0.5), ("", 0.02, 1.0), ("ა" * 20, 1, 61 / 50), ("ა" * 20, 0.1, 2.0), ("ა" * 600, 60, 1801 / 1500),
])  # fmt: skip
def test_a_validation_allows_the_text_of_its_references_within_the_bound_of_decoding(text, seconds, bound):
    columns = {"asr": PackedStrings([text, "no"]), "emotion": PackedStrings(["sad" * 99, ""])}
    names = PackedStrings(["a", "b"])
    utterances = Utterances(names, names, np.array([int(16000 * seconds), 480000]), columns)
    assert longest_text(utterances, [ASR, EMOTION]) == pytest.approx(bound)
    assert longest_text(utterances, [EMOTION]) == 0.5
