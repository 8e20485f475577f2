"""The poolings of the conventional method, each against another way to compute it; and one that is added by name."""

import pytest
import torch
from tiny_whisper import EMOTION, GENDER, SIZES, batch_of, tiny_model, write_utterances
from transformers import WhisperConfig, WhisperForAudioClassification

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.models.build import empty_model
from whisper_er.models.pooling import POOLINGS, AttentiveStatistics, Pooling
from whisper_er.text.tokenizer import Tokenizer

VALUES = [{"gender": "male", "emotion": "sad"}] * 3


@pytest.fixture
def tokenizer(bpe_tokens):
    return Tokenizer(bpe_tokens, [GENDER, EMOTION], "bpe", "en")


@pytest.fixture
def batch(tokenizer, tmp_path):
    return batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), tokenizer)


@torch.no_grad()
def test_real_is_bit_equal_to_the_mean_over_the_utterances_frames(tokenizer, batch):
    model = tiny_model(tokenizer, kind="encoder_classifier")
    states_BTD, _ = model.encode(batch)
    real_B = torch.tensor([15, 50, 31])
    mask_BT = torch.arange(states_BTD.shape[1]) < real_B[:, None]
    pooled_BD = (states_BTD.float() * mask_BT[..., None]).sum(1) / real_B[:, None]
    for head, logits_BC in zip(model.heads.values(), model.logits(batch), strict=True):
        assert torch.equal(logits_BC, head(pooled_BD))
    assert not list(model.pooling.parameters())


@torch.no_grad()
def test_all_is_what_transformers_classifier_averages(tokenizer, batch):
    model = tiny_model(tokenizer, kind="encoder_classifier", pad="30s", pool="all")
    theirs = WhisperForAudioClassification(WhisperConfig(**SIZES, num_labels=3, classifier_proj_size=16)).eval()
    theirs.encoder.load_state_dict(model.audio_encoder.encoder.state_dict())
    theirs.projector, theirs.classifier = torch.nn.Identity(), model.heads["head_emotion"]
    mel_BFN, _ = model.audio_encoder.logmel(batch.wave_BS, batch.samples_B)
    _, emotion_BC = model.logits(batch)
    torch.testing.assert_close(emotion_BC, theirs(mel_BFN).logits, atol=1e-5, rtol=0)
    _, other_BC = tiny_model(tokenizer, kind="encoder_classifier", pad="30s").logits(batch)
    assert (emotion_BC - other_BC).abs().max() > 1e-3  # the silence counts


@torch.no_grad()
def test_attentive_is_the_weighted_mean_and_deviation_of_each_utterance_alone():
    torch.manual_seed(0)
    pooling, states_BTD = AttentiveStatistics(4), torch.randn(2, 7, 4)
    real_BT = torch.arange(7) < torch.tensor([3, 7])[:, None]
    for frames, states, pooled in zip((3, 7), states_BTD, pooling(states_BTD, real_BT, real_BT)):
        scores = [pooling.score(torch.tanh(pooling.hidden(state))).item() for state in states[:frames]]
        weights = torch.tensor(scores).exp() / torch.tensor(scores).exp().sum()
        mean = sum(weight * state for weight, state in zip(weights, states))
        square = sum(weight * state**2 for weight, state in zip(weights, states))
        torch.testing.assert_close(pooled, torch.cat([mean, (square - mean**2).sqrt()]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pool", POOLINGS)
@pytest.mark.parametrize("pad", ["none", "+0.5"])
@torch.no_grad()
def test_an_utterance_is_pooled_the_same_alone_and_in_a_batch(tokenizer, tmp_path, batch, pool, pad):
    model = tiny_model(tokenizer, kind="encoder_classifier", pool=pool, pad=pad)
    alone = batch_of(write_utterances(tmp_path, [0.3], VALUES[:1]), tokenizer)
    for together, single in zip(model.logits(batch), model.logits(alone)):
        torch.testing.assert_close(together[:1], single, atol=1e-5, rtol=0)


def test_attention_learns_and_is_made_again_from_configuration_and_weights(tokenizer, batch):
    model = tiny_model(tokenizer, kind="encoder_classifier", pool="attentive")
    model(batch).loss.backward()
    assert model.pooling.hidden.weight.grad.abs().max() > 0
    config = TrainConfig(model=ModelConfig(whisper_sizes=SIZES, kind="encoder_classifier", pool="attentive"))
    again = empty_model(config, model.backbone_config.to_dict(), tokenizer)
    again.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(again.eval().logits(batch)[0], model.logits(batch)[0])


class FirstFrame(Pooling):
    def forward(self, states_BTD, real_BT, read_BT):
        return states_BTD[:, 0].float()


@torch.no_grad()
def test_one_that_is_registered_is_chosen_by_its_name(tokenizer, batch, monkeypatch):
    with pytest.raises(UserError, match="pool: 'first' is not allowed; allowed: real all attentive"):
        build(ModelConfig, {"pool": "first", "kind": "encoder_classifier"}, "train.yaml")
    monkeypatch.setitem(POOLINGS, "first", FirstFrame)
    options = build(ModelConfig, {"pool": "first", "kind": "encoder_classifier"}, "train.yaml")
    model = tiny_model(tokenizer, kind=options.kind, pool=options.pool)
    states_BTD, _ = model.encode(batch)
    assert torch.equal(model.logits(batch)[0], model.heads["head_gender"](states_BTD[:, 0]))


def test_a_model_with_a_decoder_pools_nothing():
    with pytest.raises(UserError, match="pool: all is not allowed; allowed: real with model.kind=seq2seq"):
        ModelConfig(pool="all")
