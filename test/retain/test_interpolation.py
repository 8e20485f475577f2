"""Weights towards the pretrained ones, exact to the bit; the curve; the name that decoding gives."""

import json
import shutil
from unittest import mock

import pytest
import torch
import yaml
from tiny_experiment import call, decode_arguments, token_list_arguments, train_arguments

from whisper_er.base.errors import UserError
from whisper_er.base.weights import load_weights
from whisper_er.bin import average, decode, interpolate, token_list, train
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.data.kaldi import read_table, write_table
from whisper_er.models.build import build_model
from whisper_er.retain import interpolation
from whisper_er.retain.interpolation import parse_towards
from whisper_er.text.tokenizer import load_tokenizer

TABLE = "decoder.embed_tokens.weight"


def test_the_mix_is_that_of_float64_and_what_the_other_lacks_stays():
    torch.manual_seed(0)
    ours = {TABLE: torch.randn(5, 2), "audio_encoder.a": torch.randn(3), "heads.b": torch.randn(2)}
    other = {TABLE: torch.randn(4, 2), "audio_encoder.a": torch.randn(3), "heads.b": torch.randn(2)}
    mixed = interpolation.interpolate(ours, other, 0.3, base_size=4)
    expected = (0.7 * ours["audio_encoder.a"].double() + 0.3 * other["audio_encoder.a"].double()).float()
    assert torch.equal(mixed["audio_encoder.a"], expected)
    assert torch.equal(mixed[TABLE][4], ours[TABLE][4]) and mixed["heads.b"] is ours["heads.b"]
    for share, end in ((0, ours), (1, other)):
        assert torch.equal(interpolation.interpolate(ours, other, share, 4)[TABLE][:4], end[TABLE][:4])
    with pytest.raises(UserError, match="no audio_encoder.a of this shape"):
        interpolation.interpolate(ours, other | {"audio_encoder.a": torch.zeros(4)}, 0.5, 4)


def test_the_option_names_a_model_and_shares():
    assert parse_towards("exp/a:b/fold1:0,.5,1") == ("exp/a:b/fold1", [0, 0.5, 1])
    for wrong in ("pretrained", "pretrained:", "pretrained:1.1", "pretrained:nan", ":0.3", "pretrained:a"):
        with pytest.raises(UserError, match="such as pretrained:0,0.1,0.3"):
            parse_towards(wrong)


def test_an_experiment_goes_towards_its_pretrained_model_and_is_measured_and_decoded(
    corpus, whisper_directory, tmp_path, no_git
):
    tokens, exp, name = tmp_path / "tokens", tmp_path / "exp", "ave.towards_pretrained"
    arguments = [value for value in token_list_arguments(corpus) if value not in ("--bpe_size", 16)]
    arguments[arguments.index("bpe")] = "whisper"
    call(token_list, *arguments, "--whisper_model", whisper_directory, "--out_dir", tokens)
    for part in ("train", "valid"):  # two of the three utterances of valid get no label
        shutil.copytree(corpus / part, tmp_path / part)
        votes = {utt_id: "other:1" if index else "" for index, utt_id in enumerate(read_table(corpus / part / "text"))}
        write_table(tmp_path / part / "utt2emotion_votes", votes)
    call(train, *train_arguments(corpus, exp, "--whisper_model", whisper_directory, "--token_list", tokens,
                                 "--train_set", tmp_path / "train", "--valid_set", tmp_path / "valid",
                                 "model.whisper_sizes={}", "max_steps=2",
                                 "loss.soft_labels=[emotion,emotion]"))  # fmt: skip
    call(average, "--exp_dir", exp)
    call(interpolate, "--exp_dir", exp, "--towards", "pretrained:0,0.3")
    before, ave = (exp / "ave.safetensors").read_bytes(), load_weights(exp / "ave.safetensors")
    mixed, same = (load_weights(exp / f"{name}_{share}.safetensors") for share in ("0.3", "0"))
    tokenizer = load_tokenizer(tokens)
    start = build_model(TrainConfig(ModelConfig(whisper_model=str(whisper_directory))), tokenizer).state_dict()
    assert all(torch.equal(same[key], ave[key]) for key in ave)
    key, base = "decoder.layers.0.fc1.weight", tokenizer.text.size
    assert torch.equal(mixed[key], (0.7 * ave[key].double() + 0.3 * start[key].double()).float())
    assert torch.equal(mixed[TABLE][base:], ave[TABLE][base:]) and not torch.equal(mixed[TABLE], ave[TABLE])

    with mock.patch.object(interpolation, "validate", wraps=interpolation.validate) as validated:
        call(interpolate, "--exp_dir", exp, "--towards", "pretrained:0,1", "--curve", "true")
    rows = [line.split("|")[1:-1] for line in (exp / f"{name}.md").read_text().splitlines() if line.startswith("|")]
    titles = [cell.strip() for cell in rows[0]]
    assert titles == ["share", "asr WER", "gender WA", "gender UA", "emotion WA", "emotion UA"]
    logged = [json.loads(line) for line in (exp / "metrics.jsonl").read_text().splitlines() if "valid" in line][-1]
    for task in ("gender", "emotion"):
        assert float(rows[2][titles.index(f"{task} WA")]) == 100 * logged["valid"][f"accuracy_{task}"]
    assert float(rows[2][1]) == pytest.approx(100 * (1 - logged["valid"]["accuracy_asr"]), abs=0.05)
    assert validated.call_args.args[1].values["emotion"].num_empty() == 2
    assert (exp / "ave.safetensors").read_bytes() == before

    call(decode, *decode_arguments(corpus, exp, tmp_path / "hyp", "--model", f"{name}_0.3.safetensors"))
    assert json.loads((tmp_path / "hyp/decode.json").read_text())["model"] == f"{name}_0.3.safetensors"


def test_towards_another_experiment_of_the_same_speakers_and_not_over_the_weights_of_a_third(scored, tmp_path):
    ignore = shutil.ignore_patterns("checkpoints", "decode_x")
    exp, other, third = (
        shutil.copytree(scored / "exp", tmp_path / path, ignore=ignore) for path in ("exp", "a/b/fold1", "c/b/fold1")
    )
    for _ in range(2):  # again, over its own
        call(interpolate, "--exp_dir", exp, "--towards", f"{other}:0.5")
    assert (exp / "ave.towards_b_fold1_0.5.safetensors").is_file()
    with pytest.raises(UserError, match="goes towards .*a/b/fold1, not .*c/b/fold1; move it away"):
        call(interpolate, "--exp_dir", exp, "--towards", f"{third}:0.5")
    data = yaml.safe_load((third / "data.yaml").read_text())
    data["train_set"]["speakers"].append("test-speaker")
    (third / "data.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match="fold1 was trained on 1 speakers that .*exp was not: test-speaker"):
        call(interpolate, "--exp_dir", exp, "--towards", f"{third}:0.1")


def test_a_model_from_scratch_has_no_pretrained_one(scored):
    with pytest.raises(UserError, match="was trained from scratch; give another experiment"):
        call(interpolate, "--exp_dir", scored / "exp", "--towards", "pretrained:0.3")
