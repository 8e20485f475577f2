"""Configuration files and key=value overrides."""

from pathlib import Path

import pytest
import yaml
from repository import EGS

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load, to_plain
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.export.data_card import read_data_card
from whisper_er.models.features import PadRule

# What others read: test/egs/test_systems.py, test/egs/test_across_corpora.py
OTHERS = ("systems", "corpora")
SHIPPED = sorted(path for path in EGS.glob("*/ser1/conf/**/*.yaml") if not path.name.startswith(OTHERS))


def read(tmp_path: Path, text: str, *overrides: str) -> TrainConfig:
    (tmp_path / "train.yaml").write_text(text, encoding="utf-8")
    return load(TrainConfig, tmp_path / "train.yaml", list(overrides))


def error_of(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_file_is_the_default_configuration(tmp_path):
    assert read(tmp_path, "") == TrainConfig()


@pytest.mark.parametrize(
    "text, wrong, nearest",
    [("max_step: 3", "max_step", "max_steps"), ("optim: {learning_rat: 1}\nmodel: {spec_aug: {}}", "learning_rat", "")],
)
def test_an_unknown_key_is_named_with_the_file_and_the_nearest_key(tmp_path, text, wrong, nearest):
    message = error_of(tmp_path, text)
    assert f"{tmp_path}/train.yaml" in message and f"unknown key '{wrong}'" in message
    assert f"did you mean '{nearest}'?" in message if nearest else "allowed: lr lr_factors" in message


def test_an_unknown_key_of_an_override_is_named_with_the_nearest_key(tmp_path):
    assert "unknown key 'warmup_step'; did you mean 'warmup_steps'?" in error_of(tmp_path, "", "optim.warmup_step=3")


@pytest.mark.parametrize(
    "text",
    ["max_steps: many", "max_steps: 1.5", "max_steps: true", "normalize_loss: 1", "valid_task: [emotion]",
     "valid_task:", "optim: 3", "optim: {lr: fast}", "optim: {lr: true}", "optim: {betas: 0.9}",
     "optim: {lr_factors: {heads: ten}}"],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_named_with_its_key(tmp_path, text):
    key = text.replace("optim: {", "").split(":")[0]
    assert key in error_of(tmp_path, text)


def test_a_value_outside_the_allowed_ones_lists_them(tmp_path):
    assert "allowed: float32 bfloat16" in error_of(tmp_path, "dtype: float16")


@pytest.mark.parametrize("text", ["optim: {lr: 1e-4}", "optim: {lr: 1.0e-4}", "optim: {lr: 0.0001}"])
def test_a_number_needs_no_dot_before_its_exponent(tmp_path, text):
    assert read(tmp_path, text).optim.lr == 0.0001


def test_an_integer_serves_as_a_float_and_inside_of_mappings_and_lists(tmp_path):
    optim = read(tmp_path, "optim: {lr: 1, lr_factors: {heads: 1e1}, betas: [0, 1e-1]}").optim
    assert (optim.lr, optim.lr_factors, optim.betas) == (1.0, {"heads": 10.0}, [0.0, 0.1])


def test_an_override_changes_its_key_and_no_other(tmp_path):
    text = "optim: {lr: 1, warmup_steps: 7}\nmax_steps: 5"
    config = read(tmp_path, text, "optim.lr=2e-3", "model.specaug.time_masks=2")
    assert (config.optim.lr, config.optim.warmup_steps, config.max_steps) == (0.002, 7, 5)
    assert config.model.specaug.time_masks == 2


def test_an_override_may_hold_an_equals_sign_or_a_mapping(tmp_path):
    config = read(tmp_path, "", "valid_task=a=b", "optim.lr_factors={heads: 10}", "model.pad=to 2")
    assert (config.valid_task, config.optim.lr_factors, config.model.pad) == ("a=b", {"heads": 10.0}, "to 2")


@pytest.mark.parametrize("override", ["max_steps", "max_steps.more=1", "optim.lr=[1", "=3"])
def test_a_malformed_override_is_quoted(tmp_path, override):
    assert override.split("=")[0] in error_of(tmp_path, "max_steps: 5", override)


@pytest.mark.parametrize("text", ["a: [1", "- a\n- b", "just words", "\t"])
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    assert f"{tmp_path}/train.yaml" in error_of(tmp_path, text)
    assert f"{tmp_path}/train.yaml" in error_of(tmp_path, text, "max_steps=3")


def test_an_override_that_only_looks_like_a_number_stays_text(tmp_path):
    assert read(tmp_path, "", "model.pad=+1").model.pad == "+1"


def test_a_written_configuration_reads_back_equal(tmp_path):
    config = read(tmp_path, "model: {pad: '+1', whisper_sizes: {d_model: 8}}\noptim: {lr: 1e-7, lr_factors: {a: 3}}")
    assert read(tmp_path, yaml.safe_dump(to_plain(config))) == config


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(EGS)))
def test_every_shipped_yaml_loads(path):
    if path.name.startswith("decode"):
        load(DecodeConfig, path)
    elif path.name == "data_card.yaml":
        read_data_card(path)
    else:
        assert path.name.startswith("train"), f"{path}: neither train*.yaml nor decode*.yaml"
        PadRule.parse(load(TrainConfig, path).model.pad)


def test_every_recipe_ships_a_training_and_a_decoding_configuration():
    for recipe in {path.parent for path in SHIPPED}:
        assert list(recipe.glob("train*.yaml")) and list(recipe.glob("decode*.yaml")), recipe
    assert len({path.parent for path in SHIPPED}) >= 4


def test_no_shipped_yaml_says_a_key_twice():
    for path in SHIPPED:
        mapping = yaml.compose(path.read_text(encoding="utf-8"))  # None: nothing but comments
        keys = [key.value for key, _ in mapping.value] if mapping else []
        assert len(keys) == len(set(keys)), path
