"""Parameter counts without weights: the paper's Table 6, and transformers' own models."""

import json
import os
from pathlib import Path

import pytest
import torch
from entry_point import error_of, run_entry_point
from repository import TEMPLATE
from tiny_experiment import train_and_average, write_corpus
from transformers import WhisperConfig, WhisperModel

from whisper_er.models.size import published_sizes, rounded
from whisper_er.recognize.recognizer import Recognizer

CONF = TEMPLATE / "conf"


def info(config: str, model: str, tasks: str) -> str:
    done = run_entry_point("model_info", "--config", CONF / config, "--whisper_model", model, "--tasks", tasks)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("config, model, tasks, expected", [
    ("train_conventional.yaml", "base", "emotion=4", "20M"),
    ("train_conventional.yaml", "large-v3", "emotion=4", "635M"),
    ("train_serialmtl.yaml", "base", "asr gender=2 emotion=4", "72M"),
    ("train_serialmtl.yaml", "large-v3", "asr gender=2 emotion=4", "1.54B"),
])  # fmt: skip
def test_table_6_of_the_paper(config, model, tasks, expected):
    assert info(config, f"openai/whisper-{model}", tasks).splitlines()[-1] == f"trainable parameters: {expected}"


@pytest.mark.parametrize("name", ["openai/whisper-base", "openai/whisper-large-v3-turbo"])
def test_the_count_is_that_of_transformers_model_and_the_new_rows_less_the_positions(name):
    with torch.device("meta"):
        whisper = WhisperModel(WhisperConfig(**published_sizes(name)))
    whole = sum(parameter.numel() for parameter in whisper.parameters())
    width, positions = whisper.config.d_model, whisper.encoder.embed_positions.weight.numel()
    last = info("train_serialmtl.yaml", name, "asr gender=2 emotion=4").splitlines()[-2].split()
    assert [int(number.replace(",", "")) for number in last[1:]] == [whole + 6 * width - positions, positions]


def test_an_experiment_has_the_parameters_that_its_model_has(tmp_path):
    exp_dir = train_and_average(write_corpus(tmp_path / "corpus"), tmp_path / "exp", "max_steps=0")
    model = Recognizer.open(exp_dir).model
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    done = run_entry_point("model_info", "--exp_dir", exp_dir)
    assert done.stdout.splitlines()[-2].split()[1] == f"{trained:,}"


@pytest.mark.parametrize("number, text", [(999_499_999, "999M"), (999_500_000, "1.00B"), (19_824_644, "20M")])
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
def test_what_cannot_be_counted_is_one_line(options, message):
    if "--config" not in options:
        options = ["--config", CONF / "train_serialmtl.yaml", *options]
    assert message in error_of("model_info", "--whisper_model", "openai/whisper-base", *options)


@pytest.mark.skipif("WHISPER_ER_ASSETS" not in os.environ, reason="needs real Whisper files")
def test_the_published_sizes_are_those_of_the_real_configurations():
    for directory, name in (
        ("whisper-base-encoder", "openai/whisper-base"),
        ("whisper-tiny.en-no-embed", "openai/whisper-tiny.en"),
    ):
        config = json.loads((Path(os.environ["WHISPER_ER_ASSETS"]) / "weights" / directory / "config.json").read_text())
        assert {key: value for key, value in published_sizes(name).items() if config.get(key, value) != value} == {}
