"""Weights towards the pretrained ones, exact to the bit; the curve; the name that decoding gives."""

import json

import pytest
import torch
from tiny_experiment import call, decode_arguments, token_list_arguments, train_arguments

from whisper_er.base.errors import UserError
from whisper_er.base.weights import load_weights
from whisper_er.bin import average, decode, token_list, train
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.models.build import build_model
from whisper_er.retain.interpolation import interpolate, parse_towards
from whisper_er.text.tokenizer import load_tokenizer

TABLE = "decoder.embed_tokens.weight"


def test_the_mix_is_that_of_float64_and_what_the_other_lacks_stays():
    torch.manual_seed(0)
    ours = {TABLE: torch.randn(5, 2), "audio_encoder.a": torch.randn(3), "heads.b": torch.randn(2)}
    other = {TABLE: torch.randn(4, 2), "audio_encoder.a": torch.randn(3), "heads.b": torch.randn(2)}
    mixed = interpolate(ours, other, 0.3, base_size=4)
    expected = (0.7 * ours["audio_encoder.a"].double() + 0.3 * other["audio_encoder.a"].double()).float()
    assert torch.equal(mixed["audio_encoder.a"], expected)
    assert torch.equal(mixed[TABLE][4], ours[TABLE][4]) and mixed["heads.b"] is ours["heads.b"]
    for share, end in ((0, ours), (1, other)):
        assert torch.equal(interpolate(ours, other, share, 4)[TABLE][:4], end[TABLE][:4])
    with pytest.raises(UserError, match="no audio_encoder.a of this shape"):
        interpolate(ours, other | {"audio_encoder.a": torch.zeros(4)}, 0.5, 4)


def test_the_option_names_a_model_and_shares():
    assert parse_towards("exp/a:b/fold1:0,.5,1") == ("exp/a:b/fold1", [0, 0.5, 1])
    for wrong in ("pretrained", "pretrained:", "pretrained:1.1", "pretrained:nan", ":0.3", "pretrained:a"):
        with pytest.raises(UserError, match="such as pretrained:0,0.1,0.3"):
            parse_towards(wrong)


def test_an_experiment_goes_towards_its_pretrained_model_and_is_measured_and_decoded(
    corpus, whisper_directory, tmp_path, capsys, no_git
):
    tokens, exp, name = tmp_path / "tokens", tmp_path / "exp", "ave.towards_pretrained"
    arguments = [value for value in token_list_arguments(corpus) if value not in ("--bpe_size", 16)]
    arguments[arguments.index("bpe")] = "whisper"
    call(token_list, *arguments, "--whisper_model", whisper_directory, "--out_dir", tokens)
    call(train, *train_arguments(corpus, exp, "--whisper_model", whisper_directory, "--token_list", tokens,
                                 "model.whisper_sizes={}", "max_steps=2"))  # fmt: skip
    call(average, "--exp_dir", exp, "--towards", "pretrained:0,0.3")
    before, ave = (exp / "ave.safetensors").read_bytes(), load_weights(exp / "ave.safetensors")
    mixed, same = (load_weights(exp / f"{name}_{share}.safetensors") for share in ("0.3", "0"))
    tokenizer = load_tokenizer(tokens)
    start = build_model(TrainConfig(ModelConfig(whisper_model=str(whisper_directory))), tokenizer).state_dict()
    assert all(torch.equal(same[key], ave[key]) for key in ave)
    key, base = "decoder.layers.0.fc1.weight", tokenizer.text.size
    assert torch.equal(mixed[key], (0.7 * ave[key].double() + 0.3 * start[key].double()).float())
    assert torch.equal(mixed[TABLE][base:], ave[TABLE][base:]) and not torch.equal(mixed[TABLE], ave[TABLE])

    capsys.readouterr()
    call(average, "--exp_dir", exp, "--towards", "pretrained:0,1", "--curve", "true")
    rows = [line.split("|")[1:-1] for line in (exp / f"{name}.md").read_text().splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[0]] == [
        "share",
        "loss",
        "asr WER",
        "gender WA",
        "gender UA",
        "emotion WA",
        "emotion UA",
    ]
    losses = [
        json.loads(line)["valid"]["loss"]
        for line in (exp / "metrics.jsonl").read_text().splitlines()
        if "valid" in line
    ]
    assert float(rows[2][1]) == pytest.approx(losses[-1], abs=6e-4) and rows[2][1] != rows[3][1]
    assert (exp / "ave.safetensors").read_bytes() == before

    call(decode, *decode_arguments(corpus, exp, tmp_path / "hyp", "--model", f"{name}_0.3.safetensors"))
    assert json.loads((tmp_path / "hyp/decode.json").read_text())["model"] == f"{name}_0.3.safetensors"
    call(average, "--exp_dir", exp, "--towards", f"{exp}:0.5")
    assert sorted(path.name for path in exp.glob("ave.towards_*exp_0.5*")) == [
        f"ave.towards_{tmp_path.name}_exp_0.5.safetensors"
    ]


def test_a_model_from_scratch_has_no_pretrained_one(scored):
    with pytest.raises(UserError, match="was trained from scratch; give another experiment"):
        call(average, "--exp_dir", scored / "exp", "--towards", "pretrained:0.3")
