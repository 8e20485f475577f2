"""Parameter counts without weights: the paper's Table 6, and transformers' own models."""

import json
import os
from pathlib import Path

import pytest
import torch
from entry_point import error_of
from refusals import error_line
from repository import TEMPLATE
from tiny_experiment import call
from transformers import WhisperConfig, WhisperModel

from whisper_er.bin import model_info
from whisper_er.models.size import published_sizes, rounded
from whisper_er.recognize.recognizer import Recognizer

CONF = TEMPLATE / "conf"


@pytest.fixture
def info(capsys):
    """What model_info prints, as lines."""

    def info(*options: object) -> list[str]:
        call(model_info, *options)
        return capsys.readouterr().out.splitlines()

    return info


def options_of(config: str, model: str, tasks: str) -> list[object]:
    return ["--config", CONF / config, "--whisper_model", model, "--tasks", tasks]


def row_of_all(lines: list[str]) -> list[str]:
    [row] = [line.split() for line in lines if line.startswith("all ")]
    return row


@pytest.mark.parametrize("config, model, tasks, expected", [
    ("train_conventional.yaml", "base", "emotion=4", "20M"),
    ("train_conventional.yaml", "large-v3", "emotion=4", "635M"),
    ("train_serialmtl.yaml", "base", "asr gender=2 emotion=4", "72M"),
    ("train_serialmtl.yaml", "large-v3", "asr gender=2 emotion=4", "1.54B"),
])  # fmt: skip
def test_table_6_of_the_paper(info, config, model, tasks, expected):
    assert f"trainable parameters: {expected}" in info(*options_of(config, f"openai/whisper-{model}", tasks))


@pytest.mark.parametrize("name", ["openai/whisper-base", "openai/whisper-large-v3-turbo"])
def test_the_count_is_that_of_transformers_model_and_the_new_rows_less_the_positions(info, name):
    with torch.device("meta"):
        whisper = WhisperModel(WhisperConfig(**published_sizes(name)))
    whole = sum(parameter.numel() for parameter in whisper.parameters())
    width, positions = whisper.config.d_model, whisper.encoder.embed_positions.weight.numel()
    row = row_of_all(info(*options_of("train_serialmtl.yaml", name, "asr gender=2 emotion=4")))
    assert [int(number.replace(",", "")) for number in row[1:]] == [whole + 6 * width - positions, positions]


def test_weights_of_tasks_that_are_not_counted_change_nothing(info, tmp_path):
    plain = "model: {whisper_model: openai/whisper-tiny}\n"
    counts = []
    for text in (plain, plain + "loss: {task_weights: {asr: 0.5}}\n"):
        (tmp_path / "train.yaml").write_text(text)
        counts.append(info("--config", tmp_path / "train.yaml", "--tasks", "emotion=4"))
    assert counts[0] == counts[1]


def test_an_experiment_has_the_parameters_that_its_model_has(info, scored):
    model = Recognizer.open(scored / "exp").model
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert row_of_all(info("--exp_dir", scored / "exp"))[1] == f"{trained:,}"


@pytest.mark.parametrize("number, text", [
    (133_127, "133K"), (999_499, "999K"), (999_500, "1M"), (19_824_644, "20M"), (999_499_999, "999M"),
    (999_500_000, "1.00B"),
])  # fmt: skip
def test_numbers_are_rounded_as_in_papers(number, text):
    assert rounded(number) == text


@pytest.mark.parametrize(
    "options, message",
    [
        (["--tasks", "emotion"], "--tasks 'emotion': write asr, or a task and how many labels"),
        (["--config", CONF / "train_conventional.yaml", "--tasks", "asr"], "has no decoder"),
        (["--exp_dir", "nowhere", "--config", "x"], "give --exp_dir, or --config"),
    ],
)
def test_what_cannot_be_counted_is_one_line(capfd, options, message):
    if "--config" not in options:
        options = ["--config", CONF / "train_serialmtl.yaml", *options]
    assert message in error_line(capfd, model_info, "--whisper_model", "openai/whisper-base", *options)


def test_it_refuses_in_one_line_on_the_terminal():
    assert "give --exp_dir, or --config" in error_of("model_info")


@pytest.mark.skipif("WHISPER_ER_ASSETS" not in os.environ, reason="needs real Whisper files")
def test_the_published_sizes_are_those_of_the_real_configurations():
    for directory, name in (
        ("whisper-base-encoder", "openai/whisper-base"),
        ("whisper-tiny.en-no-embed", "openai/whisper-tiny.en"),
    ):
        config = json.loads((Path(os.environ["WHISPER_ER_ASSETS"]) / "weights" / directory / "config.json").read_text())
        assert {key: value for key, value in published_sizes(name).items() if config.get(key, value) != value} == {}
