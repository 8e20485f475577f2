"""Files of an experiment and of a pretrained model, of any content: what they hold, or one line that names the file.
Nothing in them is run."""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from entry_point import error_of
from hostile import Trap, cases, offer, offer_anything, offer_pickles
from hypothesis import given
from hypothesis import strategies as st
from tiny_experiment import call, train_and_average

from whisper_er.base.errors import UserError
from whisper_er.base.hub import load_pretrained
from whisper_er.base.settings import load
from whisper_er.base.weights import load_weights
from whisper_er.bin import average
from whisper_er.config import TrainConfig
from whisper_er.models.build import read_empty_model
from whisper_er.report.curves import read_curves
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train import experiment, training_state


def read_backbone(path: Path) -> None:
    config = load(TrainConfig, path.parent / "config.yaml")
    read_empty_model(config, path, load_tokenizer(path.parent / "token_list"))


READERS = {
    "config.yaml": lambda path: load(TrainConfig, path),
    "data.yaml": lambda path: experiment.protocol(path.parent, path.parents[1] / "test"),
    "environment.json": lambda path: experiment.read_environment(path.parent),
    "backbone_config.json": read_backbone,
    "checkpoints/best.json": lambda path: experiment.read_best(path.parents[1]),
    "metrics.jsonl": read_curves,
    "ave.safetensors": load_weights,
    "state.safetensors": lambda path: (training_state.usable_state(path), training_state.read_state(path)),
}
REFUSED = {
    "averaging before training": ("average", {"new/README": ""}, [], ["{root}/new/checkpoints/best.json: no such"]),
    "decoding before averaging": ("decode", {"exp/ave.safetensors": None}, [],
                                  ["{root}/exp/ave.safetensors: no such file; run stages 3 and 4"]),
    "training before the token list": ("train", {"token_list": None}, [],
                                       ["{root}/token_list/token_list.yaml: no such file; stage 2 writes it"]),
    **{f"a model cut after {size} bytes": ("decode", {"exp/ave.safetensors": size}, [],
                                           ["{root}/exp/ave.safetensors: cannot be read as safetensors"])
       for size in (0, 4, 3000)},
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_any_content_is_read_or_refused_in_one_line_that_names_the_file(exp, name):
    offer_anything(exp / name, READERS[name])


@pytest.mark.parametrize("name", READERS)
def test_a_pickle_under_any_name_is_not_run(exp, tmp_path, name):
    offer_pickles(exp / name, READERS[name], tmp_path)


def test_a_value_outside_its_bounds_is_named_with_its_file(exp):
    assert not offer(exp / "config.yaml", b"accum_grad: 0", lambda path: load(TrainConfig, path))


@pytest.mark.parametrize("name", REFUSED)
def test_a_stage_names_the_file_that_it_misses_or_cannot_read(refused, name):
    refused(REFUSED[name])


def test_a_stage_out_of_order_is_one_line_on_the_terminal(tmp_path):
    line = error_of("average", "--exp_dir", tmp_path)
    assert f"{tmp_path}/checkpoints/best.json: no such file" in line and not list(tmp_path.iterdir())


def test_a_model_of_another_configuration_does_not_fit(root, refused):
    train_and_average(root, root / "other", "max_steps=2", "model.whisper_sizes.encoder_layers=2")
    shutil.copyfile(root / "other/ave.safetensors", root / "exp/other.safetensors")
    refused(("decode", {}, ["--model", "other.safetensors"], ["{root}/exp/other.safetensors: does not fit"]))


@pytest.mark.parametrize("metric", ["../../../escaped", "/tmp/x", "a b", ""])
def test_what_averaging_writes_stays_in_the_experiment(root, metric):
    path = root / "exp/checkpoints/best.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metric": metric}))
    with pytest.raises(UserError, match="is no name"):
        call(average, "--exp_dir", root / "exp")


def test_a_configuration_of_a_model_may_not_be_endless(exp):
    path = exp / "backbone_config.json"
    values = json.loads(path.read_text())
    for wrong in ({"encoder_layers": 10**9}, {"num_mel_bins": 10**6}, {"d_model": 10**12}, {"vocab_size": "9"},
                  {"model_type": "bert"}, {"model_type": ["whisper"]}, {"encoder_attention_heads": 0}):  # fmt: skip
        assert not offer(path, json.dumps(values | wrong).encode(), read_backbone), wrong
    code = {"auto_map": {"AutoModel": "evil--x.Y"}, "attn_implementation": "evil/kernel", "quantization_config": {}}
    assert offer(path, json.dumps(values | code).encode(), read_backbone)


shapes = st.lists(st.sampled_from([0, 1, 2, 3, 2**40, 2**63, -1]), max_size=4)
dtypes = st.sampled_from(["F32", "F8_E4M3", "BOOL", "I64", "U64", "BF16", "F4", "C64", "X"])


@cases(500)
@given(dtype=dtypes, shape=shapes, end=st.sampled_from([0, 1, 4, 8, 24, 2**62]))
def test_a_header_of_safetensors_that_lies_is_refused(tmp_path_factory, dtype, shape, end):
    header = json.dumps({"t": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()
    path = tmp_path_factory.getbasetemp() / "lies.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\1" * min(end, 24))
    try:
        load_weights(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: cannot be read as safetensors")


@pytest.mark.parametrize("config", [{"model_type": "whisper"}, {"model_type": "mine", "auto_map": {
    "AutoConfig": "evil.C", "AutoModel": "evil.M"}}])  # fmt: skip
def test_a_pretrained_directory_runs_nothing_and_asks_nothing(tmp_path, monkeypatch, config):
    from transformers import AutoModel, WhisperModel

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question at the terminal"))
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 8}
    (tmp_path / "m").mkdir()
    (tmp_path / "m/config.json").write_text(json.dumps(config | sizes))
    (tmp_path / "m/evil.py").write_text("import os; os.system('touch marker')\n")
    torch.save({"x": Trap(tmp_path / "marker")}, tmp_path / "m/pytorch_model.bin")
    for kind in (AutoModel, WhisperModel):
        with pytest.raises(UserError, match="whisper_model 'm' cannot be loaded"):
            load_pretrained(kind, "m")
    assert not (tmp_path / "marker").exists()
