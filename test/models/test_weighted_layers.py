"""What of the encoder is pooled: the last layer, or a learned sum of all; and the hidden layer of the head."""

import re

import pytest
import torch
from stopped_runs import OVERRIDES, StopAt, Stopped, contents
from tiny_experiment import call, train_and_average, train_arguments
from tiny_ssl import FAMILIES, VARIANTS, classifier, write_model
from tiny_whisper import EMOTION, GENDER, SIZES, batch_of, tiny_model, write_utterances
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.bin import train
from whisper_er.bin.info import show
from whisper_er.config import ModelConfig
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.text.tokenizer import Tokenizer

SCORES = torch.tensor([0.5, -1.0, 2.0])  # of the input and both layers
VALUES = [{"gender": "male", "emotion": "sad"}] * 3


@pytest.fixture
def tokenizer(bpe_tokens):
    return Tokenizer(bpe_tokens, [GENDER, EMOTION], "bpe", "en")


def weighted(hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
    shares = SCORES.exp() / SCORES.exp().sum()
    return shares[0] * hidden_states[0] + shares[1] * hidden_states[1] + shares[2] * hidden_states[2]


@torch.no_grad()
def test_the_sum_is_that_of_transformers_hidden_states_of_whisper(tokenizer, tmp_path):
    batch = batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), tokenizer)
    model = tiny_model(tokenizer, kind="encoder_classifier", pad="30s", layers="weighted")
    theirs = WhisperEncoder(WhisperConfig(**SIZES)).eval()
    theirs.load_state_dict(model.audio_encoder.encoder.state_dict())
    mel_BFN, _ = model.audio_encoder.logmel(batch.wave_BS, batch.samples_B)
    hidden_states = theirs(mel_BFN, output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.encode(batch)[0], sum(hidden_states) / 3, atol=1e-5, rtol=0)  # equal at first
    model.layer_sum.scores.copy_(SCORES)
    torch.testing.assert_close(model.encode(batch)[0], weighted(hidden_states), atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_sum_is_that_of_transformers_hidden_states_of_ssl_encoders(tmp_path, family, variant):
    theirs = write_model(tmp_path, family, variant, do_normalize=False)
    model, _ = classifier(tmp_path, layers="weighted")
    model.layer_sum.scores.copy_(SCORES)
    batch = batch_of(write_utterances(tmp_path, [0.5], [{"emotion": "sad"}]), model.tokenizer)
    out = theirs(batch.wave_BS, output_hidden_states=True)
    hidden_states = *out.hidden_states[:-1], out.last_hidden_state  # after the norm, in every version of transformers
    torch.testing.assert_close(model.encode(batch)[0], weighted(hidden_states), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pool", ["real", "attentive"])
@torch.no_grad()
def test_the_hidden_layer_is_applied_to_every_frame_before_the_pooling(tokenizer, tmp_path, pool):
    batch = batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), tokenizer)
    model = tiny_model(tokenizer, kind="encoder_classifier", head_width=5, pool=pool)
    hidden, (states_BTD, _) = model.head_hidden, model.encode(batch)
    for b, frames in enumerate((15, 50, 31)):
        inner_TD = torch.clamp(states_BTD[b, :frames] @ hidden.weight.T + hidden.bias, min=0)
        everything_T = torch.ones(1, frames, dtype=torch.bool)
        pooled_D = inner_TD.mean(0) if pool == "real" else model.pooling(inner_TD[None], everything_T, everything_T)[0]
        for head, logits_BC in zip(model.heads.values(), model.logits(batch), strict=True):
            torch.testing.assert_close(logits_BC[b], head(pooled_D), atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_utterance_gets_the_same_answer_alone_and_in_a_batch(tokenizer, tmp_path):
    utterances, options = write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), {"layers": "weighted", "head_width": 5}
    write_model(tmp_path / "ssl", "wavlm", "large")
    ssl, _ = classifier(tmp_path / "ssl", **options)
    for model in (
        ssl,
        *(tiny_model(tokenizer, kind="encoder_classifier", pad=pad, **options) for pad in ("none", "+1")),
    ):
        together = model.logits(batch_of(utterances, model.tokenizer))
        alone = [model.logits(batch_of([utterance], model.tokenizer)) for utterance in utterances]
        for logits_BC, *singles in zip(together, *alone):
            torch.testing.assert_close(logits_BC, torch.cat(singles), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("no_git")
def test_a_frozen_encoder_under_weighted_layers_resumes_bit_for_bit_and_is_opened_and_shown(corpus, tmp_path, capsys):
    options = ["model.kind=encoder_classifier", "freeze=[encoder]", "model.layers=weighted", "model.head_width=5"]
    more = ["--token_list", corpus / "label_list", *OVERRIDES, *options]
    whole = contents(train_and_average(corpus, tmp_path / "whole", *more))
    with StopAt(13), pytest.raises(Stopped):  # behind the first validation
        call(train, *train_arguments(corpus, tmp_path / "exp", *more))
    assert contents(train_and_average(corpus, tmp_path / "exp", *more)) == whole
    opened = Recognizer.open(tmp_path / "exp").model
    assert opened.layer_sum.scores.unique().numel() == 2 and opened.head_hidden.out_features == 5
    capsys.readouterr()
    show(str(tmp_path / "exp"))
    shown = capsys.readouterr().out
    shares = re.search(r"layers +weights of the first one's input and of each: (.*)", shown)[1].split()
    assert [float(share) for share in shares] == pytest.approx(opened.layer_sum.weights().tolist(), abs=5e-4)
    assert "trained from scratch, `encoder` frozen" in shown


@pytest.mark.parametrize("options", [{"layers": "weighted"}, {"head_width": 8}])
def test_a_model_with_a_decoder_has_neither(options):
    with pytest.raises(UserError, match=f"{next(iter(options))}: .* with model.kind=seq2seq"):
        ModelConfig(**options)


def pooled(hidden_states: list[torch.Tensor], frames: int) -> torch.Tensor:
    return torch.cat([states_BTD[:, :frames].mean(1) for states_BTD in hidden_states], dim=1)


@torch.no_grad()
def test_numbered_layers_are_pooled_one_by_one_and_concatenated(tokenizer, tmp_path):
    batch = batch_of(write_utterances(tmp_path, [1.0], VALUES[:1]), tokenizer)
    model = tiny_model(tokenizer, kind="encoder_classifier", pad="30s", layers=[2, 0])
    theirs = WhisperEncoder(WhisperConfig(**SIZES)).eval()
    theirs.load_state_dict(model.audio_encoder.encoder.state_dict())
    mel_BFN, _ = model.audio_encoder.logmel(batch.wave_BS, batch.samples_B)
    first, _, last = theirs(mel_BFN, output_hidden_states=True).hidden_states
    for head, logits_BC in zip(model.heads.values(), model.logits(batch), strict=True):
        torch.testing.assert_close(logits_BC, head(pooled([last, first], 50)), atol=1e-5, rtol=0)
    alone, one = (tiny_model(tokenizer, kind="encoder_classifier", layers=layers) for layers in ("last", [2]))
    for ours, same in zip(alone.logits(batch), one.logits(batch), strict=True):
        assert torch.equal(ours, same)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_numbered_layers_of_ssl_encoders(tmp_path, family):
    theirs = write_model(tmp_path, family, next(iter(VARIANTS)), do_normalize=False)
    model, _ = classifier(tmp_path, layers=[1, 2])
    batch = batch_of(write_utterances(tmp_path, [0.5], [{"emotion": "sad"}]), model.tokenizer)
    out = theirs(batch.wave_BS, output_hidden_states=True)
    layers = [out.hidden_states[1], out.last_hidden_state]
    (head,) = model.heads.values()
    expected = head(pooled(layers, layers[0].shape[1]))
    torch.testing.assert_close(model.logits(batch)[0], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_each_layer_has_a_pooling_of_its_own_or_the_hidden_layer_reads_all(tokenizer, tmp_path):
    utterances = write_utterances(tmp_path, [0.3, 1.0], VALUES[:2])
    own = tiny_model(tokenizer, kind="encoder_classifier", layers=[0, 1, 2], pool="attentive")
    scores = {one.score.weight.sum().item() for one in own.pooling.poolings}
    assert len(scores) == 3 and own.pooling.output_width == 3 * 2 * SIZES["d_model"]
    hidden = tiny_model(tokenizer, kind="encoder_classifier", layers=[0, 1, 2], pool="attentive", head_width=5)
    assert hidden.head_hidden.in_features == 3 * SIZES["d_model"] and hidden.pooling.output_width == 10
    for model in (own, hidden):
        together = model.logits(batch_of(utterances, tokenizer))
        alone = [model.logits(batch_of([utterance], tokenizer)) for utterance in utterances]
        for logits_BC, *singles in zip(together, *alone):
            torch.testing.assert_close(logits_BC, torch.cat(singles), atol=1e-5, rtol=0)


def test_what_is_behind_the_last_of_the_numbered_layers_is_not_trained(tokenizer, tmp_path):
    model = tiny_model(tokenizer, kind="encoder_classifier", layers=[0, 1])
    model(batch_of(write_utterances(tmp_path, [0.3], VALUES[:1]), tokenizer)).loss.backward()
    untrained = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert untrained == {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert {name.split(".")[2] for name in untrained} == {"layers", "layer_norm", "embed_positions"}
    assert "audio_encoder.encoder.layers.1.fc1.weight" in untrained


def test_numbered_layers_are_trained_opened_and_shown(corpus, tmp_path, capsys):
    options = ["model.kind=encoder_classifier", "model.layers=[0,1]", "max_steps=2"]
    train_and_average(corpus, tmp_path / "exp", "--token_list", corpus / "label_list", *options)
    assert list(Recognizer.open(tmp_path / "exp").model.layer_numbers) == [0, 1]
    show(str(tmp_path / "exp"))
    assert re.search(r"layers +0 1 side by side, of which 0 is the input", capsys.readouterr().out)


@pytest.mark.parametrize("layers", ["first", [], [1, 1]])
def test_no_other_layers_are_allowed(layers):
    with pytest.raises(UserError, match=r"layers: .* is not allowed; allowed: last, weighted, or numbers of layers"):
        ModelConfig(kind="encoder_classifier", layers=layers)


def test_a_layer_that_the_encoder_lacks_and_what_is_no_number(tokenizer):
    with pytest.raises(UserError, match=r"model.layers: \[1, 3\] is not allowed; this encoder has 1 to 2, and 0"):
        tiny_model(tokenizer, kind="encoder_classifier", layers=[1, 3])
    with pytest.raises(UserError, match="layers: expected int, found 'x'"):
        build(ModelConfig, {"kind": "encoder_classifier", "layers": ["x"]}, "model")
