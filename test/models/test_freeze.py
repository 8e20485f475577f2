"""Parts that keep their weights: what is frozen, what it costs, what still trains."""

import pytest
import torch
from tiny_experiment import call
from tiny_ssl import classifier, write_model
from tiny_whisper import EMOTION, batch_of, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.bin import model_info
from whisper_er.config import TrainConfig
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer
from whisper_er.text.vocabulary import NoText
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

ENCODER, DECODER = "audio_encoder.encoder.", "decoder."
LAYERS = ["model.whisper_sizes.encoder_layers=3", "model.whisper_sizes.decoder_layers=3"]
SYSTEMS = {"seq2seq": "token_list", "encoder_classifier": "label_list"}


def model_of(corpus, kind: str, *options: str):
    tokenizer = load_tokenizer(corpus / SYSTEMS[kind])
    config = load(TrainConfig, corpus / "train.yaml", [f"model.kind={kind}", *LAYERS, *options])
    torch.manual_seed(1)
    return build_model(config, tokenizer), tokenizer, config


def frozen_names(model) -> set[str]:
    return {name for name, weight in model.named_parameters() if not weight.requires_grad}


@pytest.mark.parametrize("words, beginnings", [
    ("encoder", [ENCODER]),
    ("encoder.layers.0-1", [ENCODER + part for part in ("conv", "embed_positions", "layers.0.", "layers.1.")]),
    ("encoder.layers.2", [ENCODER + "embed_positions", ENCODER + "layers.2."]),
    ("decoder", [ENCODER + "embed_pos", DECODER + "embed_pos", DECODER + "layers.", DECODER + "layer_norm"]),
    ("encoder,decoder.layers.1-2", [ENCODER, DECODER + "layers.1.", DECODER + "layers.2."]),
])  # fmt: skip
def test_a_word_freezes_what_it_names_and_layer_0_takes_along_what_makes_its_input(corpus, words, beginnings):
    model, _, _ = model_of(corpus, "seq2seq", f"freeze=[{words}]")
    names = {name for name, _ in model.named_parameters()}
    assert frozen_names(model) == {name for name in names if name.startswith(tuple(beginnings))}


@pytest.mark.parametrize("variant, norm_is_frozen", [("base", True), ("large", False)])
def test_of_an_ssl_encoder_the_projection_goes_with_layer_0_and_nothing_is_left_to_chance(
    tmp_path, variant, norm_is_frozen
):
    write_model(tmp_path, "wav2vec2", variant)
    model, _ = classifier(tmp_path, freeze=["encoder.layers.0"])
    frozen = {name.removeprefix("audio_encoder.") for name in frozen_names(model)}
    assert {name.split(".")[0] for name in frozen} == {"convolutions", "projection", "encoder"}
    assert {name.split(".")[2] for name in frozen if name.startswith("encoder.layers")} == {"0"}
    assert ("encoder.layer_norm.weight" in frozen) == norm_is_frozen
    tokenizer = Tokenizer(NoText(), [EMOTION], "none", "en")
    batch = batch_of(write_utterances(tmp_path, [0.3, 1.0], [{"emotion": "sad"}] * 2), tokenizer)
    model, _ = classifier(tmp_path, freeze=["encoder"])
    states = [model.train().encode(batch)[0] for _ in range(3)]  # with dropout and layerdrop, they would differ
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])
    model, _ = classifier(tmp_path)
    assert not torch.equal(model.train().encode(batch)[0], model.encode(batch)[0])


@pytest.mark.parametrize("kind, words, more", [
    ("seq2seq", "encoder", ["accum_grad=2"]), ("seq2seq", "decoder", ["activation_checkpointing=true"]),
    ("encoder_classifier", "encoder", ["model.layers=weighted"]),
    ("encoder_classifier", "encoder.layers.0-1", ["activation_checkpointing=true"]),
])  # fmt: skip
def test_steps_leave_frozen_weights_bit_equal_change_all_others_and_keep_no_moments_of_them(
    corpus, tmp_path, kind, words, more
):
    model, tokenizer, config = model_of(corpus, kind, f"freeze=[{words}]", *more)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer = Trainer(model, tokenizer, config, tmp_path, torch.device("cpu"))
    steps = trainer.steps(read_utterances(corpus / "train", tokenizer, "error"))
    for _ in range(2):
        trainer.step(*next(steps), Sums(0))
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == before.keys() - frozen_names(model)
    trained = {weight for weight in model.parameters() if weight.requires_grad}
    assert trainer.optimizer.state.keys() == trained


def test_below_the_first_trained_layer_no_activation_is_kept(corpus):
    model, tokenizer, _ = model_of(corpus, "seq2seq", "freeze=[encoder.layers.0-1]")
    utterances = read_utterances(corpus / "train", tokenizer, "error")
    needs_gradient = []
    for layer in model.audio_encoder.encoder.layers:
        layer.register_forward_hook(lambda _, __, states_BTD: needs_gradient.append(states_BTD.requires_grad))
    model.encode(batch_of([utterances[0]], tokenizer))
    assert needs_gradient == [False, False, True]


def test_model_info_counts_what_is_trained_and_the_disk_that_it_takes(tmp_path, capsys):
    def info(*freeze: str) -> list[str]:
        (tmp_path / "train.yaml").write_text(f"{{max_steps: 9, valid_interval: 9, freeze: [{','.join(freeze)}]}}")
        options = ["--whisper_model", "openai/whisper-base", "--tasks", "emotion=4"]
        call(model_info, "--config", tmp_path / "train.yaml", *options)
        return capsys.readouterr().out.splitlines()

    encoder, embedding = info("encoder"), info("encoder", "decoder")
    assert "trainable parameters: 52M" in encoder and "trainable parameters: 27M" in embedding
    assert "3 states of 0.71)" in encoder[-3]  # 0.29 GB of weights, and 8 bytes for each of the 52M


@pytest.mark.parametrize(
    "word", ["encoder.layers.2-3", "encoder.layers.1-0", "encoder.conv", "encoder.layers.", "", "lm"]
)
def test_a_word_that_names_nothing_is_told_what_is_allowed(corpus, word):
    message = "freeze: this whisper model has no '.*'; allowed: encoder encoder.layers.0-2 decoder decoder.layers.0-2,"
    with pytest.raises(UserError, match=message):
        model_of(corpus, "seq2seq", f"freeze=['{word}']")
    with pytest.raises(UserError, match="has no 'decoder'; allowed: encoder encoder.layers.0-2,"):
        model_of(corpus, "encoder_classifier", "freeze=[decoder]")
