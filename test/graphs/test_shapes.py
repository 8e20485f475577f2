"""A batch that is filled up to a rounded shape is, to the model, the batch that it was."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from repository import ROOT
from tiny_ssl import FAMILIES, classifier, write_model
from tiny_whisper import ASR, EMOTION, GENDER, SIZES, batch_of, write_utterances

from whisper_er.config import DecodeConfig, DistilConfig, LossConfig, ModelConfig, TrainConfig
from whisper_er.graphs.passes import MOST
from whisper_er.graphs.shapes import SAMPLES, TOKENS, next_size, rounded
from whisper_er.models.build import build_model
from whisper_er.retain.distillation import Distillation
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer

VALENCE = Task("valence", "scale", ("1", "2", "3", "4", "5"))
VALUES = [
    {"asr": "good day", "valence": "2.2", "gender": "male", "emotion": "sad"},
    {"asr": "", "valence": "", "gender": "", "emotion": ""},
    {"asr": "a really sad day", "valence": "5", "gender": "female", "emotion": "happy"},
]
VOTES = ["happy:1 sad:2", "angry:1 sad:1", ""]
LOSSES = [
    {},
    {"soft_labels": ["emotion"], "scale": "ccc", "task_weights": {"gender": 0.5}},
    {"category": "focal", "class_weights": "inverse", "label_smoothing": 0.1, "scale": "ordinal"},
]


def model_and_batch(bpe_tokens, tmp_path, kind: str, pad: str = "none", **loss):
    tasks = [ASR, VALENCE, GENDER, EMOTION] if kind == "seq2seq" else [VALENCE, GENDER, EMOTION]
    tokenizer = Tokenizer(bpe_tokens, tasks, "bpe", "en")
    model = ModelConfig(kind=kind, whisper_sizes=SIZES, new_token_init="random", pad=pad)
    torch.manual_seed(0)
    utterances = write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES)
    if "soft_labels" in loss:
        utterances = [replace(utt, votes={"emotion": own}) for utt, own in zip(utterances, VOTES)]
    counts = {"emotion": [1, 2, 3], "gender": [4, 5]}
    build = partial(build_model, TrainConfig(model=model, loss=LossConfig(**loss)), tokenizer, counts)
    return build, batch_of(utterances, tokenizer)


def filled(model, batch):
    return rounded(batch, model.audio_encoder.draw_pad().round_up(batch.wave_BS.shape[1]), model.max_target)


def outcome(model, batch):
    """Loss, nll_K and count_K, and every gradient."""
    model.zero_grad()
    output = model(batch)
    output.loss.backward()
    return [*output, *(weight.grad for weight in model.parameters() if weight.grad is not None)]


def assert_same(model, batch):
    full = filled(model, batch)
    assert full.wave_BS.shape[1] > batch.wave_BS.shape[1]
    for exact, other in zip(outcome(model, batch), outcome(model, full), strict=True):
        torch.testing.assert_close(other, exact, rtol=1e-5, atol=1e-5)
    return full


@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_gradients_and_answers_are_those_of_the_batch(bpe_tokens, tmp_path, kind, loss):
    build, batch = model_and_batch(bpe_tokens, tmp_path, kind, **loss)
    model = build().eval()
    full = assert_same(model, batch)
    if kind == "seq2seq":
        assert full.target_BL.shape[1] > batch.target_BL.shape[1] and len(full.learned_N) > len(batch.learned_N)
    config = DecodeConfig(beam_size=2, maxlenratio=0.1)
    for exact, other in zip(model.predict(batch, config), model.predict(full, config), strict=True):
        assert other.values == exact.values
        for name, posterior in exact.posteriors.items():
            assert other.posteriors[name] == pytest.approx(posterior, abs=1e-5)


@pytest.mark.parametrize("pad", ["+0.5", "to 1.5", "30s"])
def test_the_silence_of_the_pad_rule_is_rounded_as_well(bpe_tokens, tmp_path, pad):
    build, batch = model_and_batch(bpe_tokens, tmp_path, "seq2seq", pad)
    model = build().eval()
    full = filled(model, batch)
    torch.testing.assert_close(model(full).loss, model(batch).loss, rtol=1e-5, atol=0)
    frames = [int(model.audio_encoder.logmel(own.wave_BS, own.samples_B)[0].shape[2]) for own in (batch, full)]
    assert frames == {"+0.5": [150, 160], "to 1.5": [150, 150], "30s": [3000, 3000]}[pad]


def test_so_is_the_text_s_teacher(bpe_tokens, tmp_path):
    build, batch = model_and_batch(bpe_tokens, tmp_path, "seq2seq")
    model = build()
    torch.manual_seed(1)
    model.distillation = Distillation(build(), DistilConfig(temperature=2.0), normalize=True)
    assert_same(model.train(), batch)


@pytest.mark.parametrize("family", FAMILIES)
def test_so_is_what_other_encoders_hear(tmp_path, family):
    write_model(tmp_path / "model", family, "base")
    model, _ = classifier(tmp_path / "model")
    assert_same(model, batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), model.tokenizer))


def test_sizes_of_a_scale_grow_by_a_unit_and_then_by_the_ratio():
    assert [next_size(size, 8, 1.3) for size in (0, 1, 8, 9, 41, 49, 65, 100)] == [8, 8, 8, 16, 48, 56, 72, 112]


def test_an_epoch_of_iemocap_s_lengths_gains_little_padding_and_has_fewer_shapes_than_graphs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools/benchmark")
    from workload import SAMPLE_RATE, TOKENS_PER_SECOND, bucketed, draw_seconds

    seconds = draw_seconds()
    samples, tokens = (seconds * SAMPLE_RATE).astype(int), (seconds * TOKENS_PER_SECOND).astype(int) + 6
    before, after, shapes = 0, 0, set()
    for seed in range(4):
        for indices in bucketed(samples, 16, seed):
            sizes = samples[indices].max(), tokens[indices].max()
            more = next_size(sizes[0], *SAMPLES), next_size(sizes[1], *TOKENS)
            before, after = before + sizes[0] / 320 + sizes[1], after + more[0] / 320 + more[1]
            shapes.add((len(indices), *more))
    assert 1.05 < after / before < 1.08
    assert len(shapes) < MOST / 2
