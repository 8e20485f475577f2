"""LoRA: at first the pretrained model, then only what it says is trained and saved; merged, the model that it was."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from refusals import error_line
from tiny_experiment import TRAIN, call
from tiny_ssl import write_model
from tiny_whisper import EMOTION, batch_of, logits_of, write_utterances, write_whisper

from whisper_er.base import settings
from whisper_er.base.weights import load_weights, save_weights
from whisper_er.bin import average, export, info, model_info, token_list, train
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.recognize.pretrained import open_model
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer
from whisper_er.text.vocabulary import NoText
from whisper_er.train import disk
from whisper_er.train.experiment import STATE
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

pytest.importorskip("peft")
from whisper_er.adapt.lora import add_lora  # noqa: E402

KINDS = {"seq2seq": "token_list", "encoder_classifier": "label_list"}
LORA = ["lora.r=4", "lora.alpha=8", "lora.where=[q_proj,v_proj,fc1]", "optim.lr=0.01"]
LAYER = ["self_attn.q_proj", "self_attn.v_proj", "fc1"]


@pytest.fixture(scope="module")
def base(corpus, tmp_path_factory) -> Path:
    """A pretrained Whisper, the token lists that extend it, and a configuration."""
    root = tmp_path_factory.mktemp("lora")
    write_whisper(root / "whisper")
    common = ["--train_set", corpus / "train", "--token_type", "whisper", "--whisper_model", root / "whisper"]
    for name, tasks in (("token_list", "asr gender emotion"), ("label_list", "gender emotion")):
        call(token_list, *common, "--tasks", tasks, "--out_dir", root / name)
    config = TRAIN | {"model": {"whisper_model": str(root / "whisper")}}
    (root / "train.yaml").write_text(yaml.safe_dump(config))
    return root


def arguments(corpus: Path, base: Path, kind: str, exp_dir: Path, *more: object) -> list[object]:
    where = ["--train_set", corpus / "train", "--valid_set", corpus / "valid", "--token_list", base / KINDS[kind]]
    return ["--config", base / "train.yaml", *where, "--exp_dir", exp_dir, f"model.kind={kind}", *LORA, *more]


@pytest.fixture(scope="module", params=KINDS)
def trained(request, corpus, base) -> tuple[str, Path]:
    """A kind and its experiment, whose checkpoints and state are all kept. Not to be changed."""
    exp_dir = base / request.param
    call(train, *arguments(corpus, base, request.param, exp_dir, "keep_checkpoints=true"))
    call(average, "--exp_dir", exp_dir)
    return request.param, exp_dir


def models_of(base: Path, kind: str, *more: str):
    """The pretrained model, the same with adapters, and its tokenizer and configuration."""
    config = settings.load(TrainConfig, base / "train.yaml", [f"model.kind={kind}", *LORA, *more])
    tokenizer, models = load_tokenizer(base / KINDS[kind]), []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(build_model(config, tokenizer).eval())
    add_lora(models[1], config)
    return *models, tokenizer, config


def outputs(model, batch) -> list[torch.Tensor]:
    if hasattr(model, "decoder"):
        return [logits_of(model, batch)]
    with torch.no_grad():
        return model.logits(batch)


@pytest.mark.parametrize("kind", KINDS)
def test_at_first_the_model_says_what_the_pretrained_one_says(corpus, base, kind):
    pretrained, model, tokenizer, _ = models_of(base, kind)
    batch = batch_of(list(read_utterances(corpus / "train", tokenizer, "error"))[:3], tokenizer)
    for ours, theirs in zip(outputs(model, batch), outputs(pretrained, batch), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind, more", [
    ("seq2seq", ["accum_grad=2"]), ("seq2seq", ["activation_checkpointing=true", "freeze=[encoder,decoder.layers.0]"]),
    ("encoder_classifier", ["model.pool=attentive", "model.layers=weighted", "model.head_width=8"]),
])  # fmt: skip
def test_steps_change_the_adapters_outside_of_frozen_parts_the_added_rows_and_the_heads_alone(
    corpus, base, tmp_path, kind, more
):
    _, model, tokenizer, config = models_of(base, kind, *more)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer = Trainer(model, tokenizer, config, tmp_path, torch.device("cpu"))
    steps = trainer.steps(read_utterances(corpus / "train", tokenizer, "error"))
    for _ in range(2):  # in the first A has no gradient, as B is 0
        trainer.step(*next(steps), Sums(0))
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    adapted = [f"audio_encoder.encoder.layers.{n}.{name}" for n in (0, 1) for name in LAYER]
    if kind == "seq2seq":
        attention = ["encoder_attn.q_proj", "encoder_attn.v_proj"]
        adapted = [] if len(more) > 1 else adapted
        adapted += [f"decoder.layers.{n}.{x}" for n in ((1,) if len(more) > 1 else (0, 1)) for x in LAYER + attention]
    expected = {f"{name}.lora_{matrix}.default.weight" for name in adapted for matrix in "AB"}
    heads = {name for name in before if not name.startswith(("audio_encoder.", "decoder."))}
    assert changed == expected | heads | ({"decoder.embed_tokens.added"} if kind == "seq2seq" else set())


def test_layers_that_are_not_read_get_no_adapters(base):
    _, model, *_ = models_of(base, "encoder_classifier", "model.layers=[1]")
    adapted = {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert adapted and all(name.startswith("audio_encoder.encoder.layers.0.") for name in adapted)


def test_checkpoints_and_states_have_what_is_trained_the_mean_is_whole_and_the_sizes_are_those_computed(trained, base):
    kind, exp_dir = trained
    _, model, _, config = models_of(base, kind, "keep_checkpoints=true")
    names = {name for name, weight in model.named_parameters() if weight.requires_grad}
    files = sorted((exp_dir / "checkpoints").glob("step*.safetensors"))
    assert len(files) == 2 and all(load_weights(path).keys() == names for path in files)
    state = {name for name in load_weights(exp_dir / STATE) if name.startswith("model.")}
    assert state == {f"model.{name}" for name in names}
    assert load_weights(exp_dir / "ave.safetensors").keys() == open_model(exp_dir).model.state_dict().keys()
    kept = [*files, exp_dir / STATE, exp_dir / "ave.safetensors"]
    sizes = [t.nbytes for path in kept for name, t in load_weights(path).items() if not name.endswith(".step")]
    adapters = sum(t.nbytes for name, t in model.state_dict().items() if ".lora_" in name)  # merged, they take no room
    assert disk.run_size(model, config).averaged.bytes == sum(sizes) + adapters


def test_merged_it_predicts_what_it_predicted_and_as_peft_merges_it(trained, corpus, base):
    kind, exp_dir = trained
    checkpoint = min((exp_dir / "checkpoints").glob("step*.safetensors"))
    pretrained, model, tokenizer, _ = models_of(base, kind)
    missing = model.load_state_dict(load_weights(checkpoint), strict=False)
    assert not missing.unexpected_keys
    batch = batch_of(list(read_utterances(corpus / "test", tokenizer, "error")), tokenizer)
    opened = open_model(exp_dir, f"checkpoints/{checkpoint.name}").model
    for ours, merged, before in zip(*(outputs(one, batch) for one in (model, opened, pretrained)), strict=True):
        torch.testing.assert_close(merged, ours, rtol=1e-5, atol=1e-5)
        assert (merged - before).abs().max() > 1e-2
    config = DecodeConfig(beam_size=2)
    for ours, merged in zip(model.predict(batch, config), opened.predict(batch, config), strict=True):
        assert merged.values == ours.values
    layer = "audio_encoder.encoder.layers.1.fc1"
    model.get_submodule(layer).merge()
    torch.testing.assert_close(opened.get_submodule(layer).weight, model.get_submodule(layer).weight)


def test_the_mean_is_that_of_the_merged_models(trained):
    _, exp_dir = trained
    files = [f"checkpoints/{path.name}" for path in (exp_dir / "checkpoints").glob("step*.safetensors")]
    models = [open_model(exp_dir, name).model.state_dict() for name in files]
    for name, tensor in load_weights(exp_dir / "ave.safetensors").items():
        torch.testing.assert_close(tensor, torch.stack([model[name] for model in models]).mean(0))


def test_a_resumed_training_ends_in_the_same_bits(trained, corpus, base, tmp_path, monkeypatch):
    kind, exp_dir = trained
    options = arguments(corpus, base, kind, tmp_path / "exp", "keep_checkpoints=true")
    step, steps = Trainer.step, []

    def stop_at_the_ninth(self, *args):
        if len(steps) == 8:
            raise KeyboardInterrupt
        steps.append(1)
        return step(self, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", stop_at_the_ninth)
        call(train, *options)
    call(train, *options)
    once, again = load_weights(exp_dir / STATE), load_weights(tmp_path / "exp" / STATE)
    assert once.keys() == again.keys() and all(torch.equal(once[name], again[name]) for name in once)


def test_info_and_export_open_it_and_say_how_it_was_trained(trained, tmp_path, capsys):
    kind, exp_dir = trained
    call(info, exp_dir)
    assert "by LoRA of rank 4" in capsys.readouterr().out
    if kind == "seq2seq":
        call(export, "--exp_dir", exp_dir, "--out_dir", tmp_path / "export")
        exported, ours = (open_model(path).model.state_dict() for path in (tmp_path / "export", exp_dir))
        assert all(torch.equal(exported[name], ours[name]) for name in ours)


def test_model_info_shows_what_large_v3_trains_and_takes(tmp_path, capsys):
    (tmp_path / "train.yaml").write_text("model: {whisper_model: x}")
    options = ["--whisper_model", "openai/whisper-large-v3", "--tasks", "emotion=4", "lora.r=16"]
    call(model_info, "--config", tmp_path / "train.yaml", *options)
    lines = capsys.readouterr().out.splitlines()
    # 32 layers of the encoder and 32 of the decoder, which has two attentions; q and v; A and B; 4 new rows
    assert 96 * 2 * 2 * 16 * 1280 + 4 * 1280 == 7_869_440 and "trainable parameters: 8M" in lines
    assert "memory: weights 6.21, gradients 0.031, AdamW 0.063 GB, and the activations" in lines[-4]
    assert "1 checkpoint of 0.031, their mean, a whole model of 6.21)" in lines[-1]


@pytest.mark.parametrize("family, where", [
    ("wav2vec2", "q_proj"), ("hubert", "out_proj"), ("wavlm", "intermediate_dense"),
])  # fmt: skip
def test_ssl_encoders_get_adapters_as_well(tmp_path, family, where):
    write_model(tmp_path, family, "base")
    values = {
        "model": {"kind": "encoder_classifier", "encoder_model": str(tmp_path)},
        "lora": {"r": 2, "where": [where]},
    }
    config, tokenizer = settings.build(TrainConfig, values, "test"), Tokenizer(NoText(), [EMOTION], "none", "en")
    model = build_model(config, tokenizer)
    add_lora(model, config)
    model(batch_of(write_utterances(tmp_path, [0.3, 1.0], [{"emotion": "sad"}] * 2), tokenizer)).loss.backward()
    moved = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {name for name in moved if name.startswith("audio")} == {
        name for name, _ in model.named_parameters() if f"{where}.lora_B" in name
    }


@pytest.mark.parametrize("options, part", [
    (["lora.where=[q_proj,dense]"], "lora.where: this whisper model has no linear layers 'dense' to adapt; allowed: "
     "k_proj v_proj q_proj out_proj fc1 fc2"),
    (["freeze=[encoder,decoder]"], "to adapt; everything is frozen: take a part out of freeze"),
    (["parallel=fsdp"], "parallel: fsdp is not allowed; allowed: ddp with lora.r"),
    (["model.decoder_init=all"], "model.decoder_init: all is not allowed; allowed: pretrained"),
    (["lora.r=0"], "lora.r: 0 is not allowed; allowed: a rank from 1, where another key of lora is set"),
    (["lora.r=-1"], "lora: r: -1 is not allowed; allowed: 0 to 1000"),
    (["lora.where=[]"], "names of linear layers, such as q_proj"),
    (["model.whisper_model=''", "model.whisper_sizes={d_model: 18, encoder_layers: 1, decoder_layers: 1}"],
     "lora.r: there are no pretrained weights to keep; give model.whisper_model"),
])  # fmt: skip
def test_options_that_do_not_fit_are_one_line(corpus, base, tmp_path, capfd, options, part):
    line = error_line(capfd, train, *arguments(corpus, base, "seq2seq", tmp_path / "exp", *options))
    assert part in line and not (tmp_path / "exp").exists()


def test_without_peft_the_extra_is_named(corpus, base, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    line = error_line(capfd, train, *arguments(corpus, base, "seq2seq", tmp_path / "exp"))
    assert "lora.r: needs peft" in line and "pip install whisper_er[lora]" in line


def test_checkpoints_on_another_pretrained_model_are_refused(corpus, base, tmp_path, capfd):
    exp_dir, model = tmp_path / "exp", tmp_path / "whisper"
    shutil.copytree(base / "whisper", model)
    options = arguments(
        corpus, base, "encoder_classifier", exp_dir, f"model.whisper_model={model}", "max_steps=1", "valid_interval=1"
    )
    call(train, *options)
    weights = load_weights(model / "model.safetensors")
    save_weights({name: weight + 1 for name, weight in weights.items()}, model / "model.safetensors", {"format": "pt"})
    assert "whisper/model.safetensors: has changed since" in error_line(capfd, average, "--exp_dir", exp_dir)
    assert "pretrained/model.safetensors.sha256: " in error_line(capfd, train, *options)

    config = yaml.safe_load((exp_dir / "config.yaml").read_text())
    config["model"] |= {"kind": "seq2seq", "whisper_model": str(base / "whisper")}
    (exp_dir / "config.yaml").write_text(yaml.safe_dump(config))
    assert "the pretrained model has no" in error_line(capfd, average, "--exp_dir", exp_dir)
