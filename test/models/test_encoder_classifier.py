"""The conventional method: what is pooled, what is learned, what is said."""

import pytest
import torch
from tiny_whisper import ASR, EMOTION, GENDER, batch_of, tiny_model, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.config import DecodeConfig
from whisper_er.task import scale
from whisper_er.text.tokenizer import Tokenizer

VALENCE = scale("valence", 1, 5, 5)
VALUES = [
    {"gender": "male", "emotion": "sad", "valence": "4.6"},
    {"gender": "", "emotion": "happy", "valence": "1"},
    {"gender": "female", "emotion": "", "valence": ""},
]


@pytest.fixture
def setting(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, [GENDER, EMOTION, VALENCE], "bpe", "en")
    batch = batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), tokenizer)
    return tiny_model(tokenizer, kind="encoder_classifier"), batch


@torch.no_grad()
def test_pooling_is_the_mean_over_the_utterances_own_frames(setting):
    model, batch = setting
    states_BTD, _ = model.audio_encoder(batch.wave_BS, batch.samples_B)
    pooled_BD = torch.stack([states[:frames].mean(0) for states, frames in zip(states_BTD, (15, 50, 31))])
    for head, logits_BC in zip(model.heads.values(), model.logits(batch), strict=True):
        torch.testing.assert_close(logits_BC, pooled_BD @ head.weight.T + head.bias, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_loss_is_the_sum_over_tasks_and_labelled_utterances(setting):
    model, batch = setting
    gender_BC, emotion_BC, valence_BC = (logits_BC.log_softmax(-1) for logits_BC in model.logits(batch))
    expected = [
        -(gender_BC[0, 1] + gender_BC[2, 0]).item(),
        -(emotion_BC[0, 2] + emotion_BC[1, 1]).item(),
        -(valence_BC[0, 4] + valence_BC[1, 0]).item(),
    ]
    output = model(batch)
    assert output.nll_K.tolist() == pytest.approx(expected, rel=1e-5)
    assert output.loss.item() == pytest.approx(sum(expected), rel=1e-5)
    assert output.count_K.tolist() == [2, 2, 2]


@torch.no_grad()
def test_the_answer_is_the_most_probable_label_and_of_a_scale_the_expectation(setting):
    model, batch = setting
    logits = model.logits(batch)
    for b, item in enumerate(model.predict(batch, DecodeConfig())):
        assert item.utt_id == batch.utt_ids[b]
        for task, logits_BC in zip((GENDER, EMOTION, VALENCE), logits):
            assert item.posteriors[task.name] == pytest.approx(logits_BC[b].softmax(-1).tolist(), abs=1e-6)
        assert item.values["emotion"] == EMOTION.labels[int(logits[1][b].argmax())]
        expectation = sum(p * centre for p, centre in zip(item.posteriors["valence"], (1, 2, 3, 4, 5)))
        assert float(item.values["valence"]) == pytest.approx(expectation, abs=1e-3)


def test_it_cannot_write_text(bpe_tokens):
    with pytest.raises(UserError, match="no decoder.*'asr'"):
        tiny_model(Tokenizer(bpe_tokens, [ASR, EMOTION], "bpe", "en"), kind="encoder_classifier")
