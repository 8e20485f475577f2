"""Which directories open as a model, and what is said of the others. They may come from anyone."""

import json
import shutil

import pytest
import yaml
from tiny_experiment import call
from tiny_export import tokenizer_of, write_experiment
from tiny_whisper import tiny_model
from transformers import WhisperForConditionalGeneration

from whisper_er.base.errors import UserError
from whisper_er.bin import export
from whisper_er.recognize.pretrained import INDEX, open_model
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.task import category
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import NoText


@pytest.fixture(scope="module")
def exported(bpe_tokens, tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrained") / "exp/tag/fold1"
    write_experiment(root, tiny_model(tokenizer_of(("bpe", bpe_tokens))))
    call(export, "--exp_dir", root, "--out_dir", root / "export")
    return root / "export"


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def line(directory) -> str:
    with pytest.raises(UserError) as caught:
        open_model(directory)
    message = str(caught.value)
    assert message.startswith(str(directory)) and "\n" not in message
    return message


def test_an_experiment_of_folds_and_one_fold_name_what_can_be_opened(exported):
    fold = exported.parent
    assert f"holds several models; open one of {fold.parent}/fold1" in line(fold.parent)
    assert Recognizer.open(fold).config.model.pad == Recognizer.open(exported).config.model.pad


def test_what_is_no_model_says_what_is_one(tmp_path, exported):
    assert "no such directory; give an experiment" in line(tmp_path / "nothing")
    assert "has neither config.yaml" in line(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "a model that stage 7 did not write (it has no whisper_er.json)" in line(tmp_path)
    (tmp_path / "inside").symlink_to(exported)
    assert f"open one of {tmp_path}/inside" in line(tmp_path)


@pytest.mark.parametrize("values, message", [
    ({"format": 2}, "whisper_er.json: format 2, this version reads 1; run stage 7 again"),
    ({"engine": "pickle"}, "'engine' is 'pickle', expected \"transformers\" or \"ctranslate2\""),
    ({"pad": 3}, "'pad' is 3, expected str"),
    ({"pad": "lots"}, "pad: 'lots' is not allowed"),
    ({"max_target": "many"}, "'max_target' is 'many', expected int"),
])  # fmt: skip
def test_whisper_er_json_is_checked(copy, values, message):
    change(copy / "whisper_er.json", **values)
    with pytest.raises(UserError) as caught:
        open_model(copy)
    assert message in str(caught.value)


@pytest.mark.parametrize("values, message", [
    ({"encoder_layers": 10**9}, "config.json: not the configuration of a model"),
    ({"model_type": "wavlm"}, "'model_type' is 'wavlm', expected \"whisper\""),
    ({"d_model": 32}, "model.safetensors: does not fit"),
    ({"vocab_size": 1000}, "model.safetensors: does not fit"),
])  # fmt: skip
def test_a_configuration_that_lies_is_one_line(copy, values, message):
    change(copy / "config.json", **values)
    assert message in line(copy)


def test_a_config_json_brings_no_code_and_no_other_model_with_it(copy):
    change(copy / "config.json", auto_map={"AutoModel": "evil.M"}, _attn_implementation="org/kernel",
           _name_or_path="elsewhere")  # fmt: skip
    open_model(copy)


def test_the_token_list_of_another_model_is_refused(copy, whisper_tokens, bpe_tokens):
    shutil.rmtree(copy / "token_list")
    (copy / "token_list").mkdir()
    tokenizer_of(("bpe", bpe_tokens), "asr gender").save(copy / "token_list")
    assert "tokens, its token_list" in line(copy)


def test_missing_and_additional_tensors_are_one_line(copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    save_file(tensors | {"extra": tensors["model.encoder.conv1.bias"].clone()}, copy / "model.safetensors")
    assert "does not fit" in (found := line(copy)) and 'Unexpected key(s) in state_dict: "extra"' in found
    del tensors["model.encoder.conv1.bias"]
    save_file(tensors, copy / "model.safetensors")
    assert 'Missing key(s) in state_dict: "audio_encoder.encoder.conv1.bias"' in line(copy)
    (copy / "model.safetensors").write_bytes(b"no safetensors")
    assert "model.safetensors: cannot be read as safetensors" in line(copy)
    (copy / "model.safetensors").unlink()
    assert "model.safetensors: cannot be read as safetensors" in line(copy)


@pytest.mark.parametrize("names, message", [
    (["../secret.safetensors"], "names '../secret.safetensors'; allowed are files of safetensors beside it"),
    (["/etc/passwd"], "names '/etc/passwd'"), (["pytorch_model.bin"], "names 'pytorch_model.bin'"),
    ([], "names no file"), (["gone.safetensors"], "gone.safetensors: cannot be read as safetensors"),
])  # fmt: skip
def test_an_index_of_shards_leads_nowhere_else(copy, names, message):
    (copy / INDEX).write_text(json.dumps({"weight_map": {f"t{n}": name for n, name in enumerate(names)}}))
    assert message in line(copy)


def test_transformers_opens_what_we_open(exported):
    WhisperForConditionalGeneration.from_pretrained(exported)


def test_the_conventional_method_is_refused_in_one_line(tmp_path):
    tokenizer = Tokenizer(NoText(), [category("emotion", ["a", "b"])], "none", "en")
    model = tiny_model(tokenizer, kind="encoder_classifier")
    model.tokenizer = tokenizer
    write_experiment(tmp_path / "exp", model)
    config = (tmp_path / "exp/config.yaml").read_text().replace("kind: seq2seq", "kind: encoder_classifier")
    (tmp_path / "exp/config.yaml").write_text(config)
    with pytest.raises(UserError, match="transformers has a class for model.kind=seq2seq only; leave stage 7 out"):
        call(export, "--exp_dir", tmp_path / "exp", "--out_dir", tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_model_opens_where_the_parts_that_only_its_training_used_are_unknown(exported, tmp_path):
    exp = shutil.copytree(exported.parent, tmp_path / "exp", ignore=shutil.ignore_patterns("export"))
    path = exp / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config |= {"augment": {"reverb": {}}, "optim": {"schedule": "noam"}, "loss": {"category": "poly"}}
    path.write_text(yaml.safe_dump(config))
    assert open_model(exp).model.family == "whisper"
    path.write_text(yaml.safe_dump(config | {"model": {"kind": "encoder_classifier", "pool": "mine"}}))
    assert "pool: 'mine' is not allowed; allowed: real" in line(exp)
