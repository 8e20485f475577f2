"""A packed model says what the model said, and again after it was packed twice or asked for bfloat16."""

import copy

import pytest
import torch
from tiny_experiment import write_corpus
from tiny_ssl import FAMILIES, SECONDS, VARIANTS, classifier, write_model
from tiny_whisper import EMOTION, batch_of, write_utterances

from whisper_er.base.settings import load
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.data.batches import load as load_batches
from whisper_er.data.plan import by_length
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.models.packed_linear import PackedLinear
from whisper_er.process.device import autocast
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer
from whisper_er.text.vocabulary import NoText


@pytest.mark.parametrize("rows", [1, 4, 33])
@pytest.mark.parametrize("with_bias", [True, False])
def test_it_is_the_linear_layer(rows, with_bias):
    torch.manual_seed(0)
    linear = torch.nn.Linear(24, 77, bias=with_bias)
    inputs = torch.randn(2, rows, 24)
    packed = PackedLinear(linear.weight, linear.bias)
    torch.testing.assert_close(packed(inputs), linear(inputs), rtol=0, atol=1e-6)
    with_gelu = PackedLinear(linear.weight, linear.bias, gelu=True)
    torch.testing.assert_close(with_gelu(inputs), torch.nn.functional.gelu(linear(inputs)), rtol=0, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(packed(inputs), linear(inputs))
        assert torch.equal(with_gelu(inputs), torch.nn.functional.gelu(linear(inputs)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_other_encoders_say_what_they_said(tmp_path, family, variant):
    write_model(tmp_path / "ssl", family, variant)
    model, _ = classifier(tmp_path / "ssl")
    utterances = write_utterances(tmp_path, SECONDS, [{"emotion": "sad"}] * len(SECONDS))
    batch = batch_of(utterances, Tokenizer(NoText(), [EMOTION], "none", "en"))
    before = model.predict(batch, DecodeConfig())
    model.pack()
    assert any(isinstance(module, PackedLinear) for module in model.modules())
    for one, other in zip(before, model.predict(batch, DecodeConfig())):
        assert other.posteriors["emotion"] == pytest.approx(one.posteriors["emotion"], abs=1e-5)


@pytest.mark.parametrize("kind, token_list", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])
def test_predictions_stay(tmp_path, kind, token_list):
    corpus = write_corpus(tmp_path / "corpus")
    tokenizer = load_tokenizer(corpus / token_list)
    torch.manual_seed(0)
    model = build_model(load(TrainConfig, corpus / "train.yaml", [f"model.kind={kind}"]), tokenizer).eval()
    utterances = read_utterances(corpus / "train", tokenizer, "error")
    (batch,) = load_batches(
        utterances, by_length(utterances.num_samples_N, 16), tokenizer, model.max_target, 0, torch.device("cpu")
    )
    packed = copy.deepcopy(model)
    packed.pack()
    packed.pack()
    assert not any(isinstance(module, torch.nn.Linear) for module in packed.modules())
    for dtype, atol in (("float32", 1e-5), ("bfloat16", 1e-2)):
        with autocast(torch.device("cpu"), dtype):
            for before, after in zip(*(one.predict(batch, DecodeConfig()) for one in (model, packed))):
                assert (after.utt_id, after.values) == (before.utt_id, before.values)
                assert after.score == pytest.approx(before.score, abs=atol)
                for task, posterior in before.posteriors.items():
                    assert after.posteriors[task] == pytest.approx(posterior, abs=atol)
