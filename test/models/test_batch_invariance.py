"""What a model makes of an utterance does not depend on what else is in its batch."""

import pytest
import torch
from tiny_whisper import EMOTION, GENDER, batch_of, logits_of, tasks_of, tiny_model, write_utterances

from whisper_er.config import DecodeConfig
from whisper_er.text.tokenizer import Tokenizer

TOLERANCE = 1e-4  # the largest difference of a logit that DESIGN.md allows
SECONDS = [0.31, 1.0, 2.2, 3.4]
VALUES = [
    {"asr": "good day", "gender": "male", "emotion": "sad"},
    {"asr": "", "gender": "female", "emotion": "angry"},
    {"asr": "a really sad day", "gender": "", "emotion": "happy"},
    {"asr": "really good .", "gender": "male", "emotion": ""},
]
pads = pytest.mark.parametrize("pad", ["none", "+0.5", "to 3"])


def differences(actual: dict[str, list[float]], expected: dict[str, list[float]]) -> float:
    return max(abs(a - b) for name in expected for a, b in zip(actual[name], expected[name], strict=True))


def assert_same_predictions(model, utterances, tokenizer, config):
    together = model.predict(batch_of(utterances, tokenizer), config)
    for utterance, item in zip(utterances, together, strict=True):
        [alone] = model.predict(batch_of([utterance], tokenizer), config)
        assert (item.utt_id, item.values) == (utterance.utt_id, alone.values)
        assert differences(item.posteriors, alone.posteriors) < TOLERANCE
        assert item.score == pytest.approx(alone.score, abs=TOLERANCE)
    return together


@pads
def test_whisper_er_gives_an_utterance_the_same_logits_and_loss_alone_and_in_a_batch(bpe_tokens, tmp_path, pad):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("asr gender emotion"), "bpe", "en")
    model = tiny_model(tokenizer, pad=pad)
    utterances = write_utterances(tmp_path, SECONDS, VALUES)
    batch = batch_of(utterances, tokenizer)
    logits_BLV, total = logits_of(model, batch), 0.0
    for utterance, logits_LV in zip(utterances, logits_BLV):
        single = batch_of([utterance], tokenizer)
        alone_LV = logits_of(model, single)[0]
        assert (logits_LV[: len(alone_LV)] - alone_LV).abs().max() < TOLERANCE
        total += model(single).loss.item()
    assert model(batch).loss.item() == pytest.approx(total, abs=TOLERANCE)


@pads
@pytest.mark.parametrize("posterior", ["marginal", "best"])
def test_whisper_er_decodes_an_utterance_the_same_alone_and_in_a_batch(bpe_tokens, tmp_path, pad, posterior):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("asr gender emotion"), "bpe", "en")
    config = DecodeConfig(beam_size=3, maxlenratio=0.1, posterior=posterior)
    utterances = write_utterances(tmp_path, SECONDS, VALUES)
    found = assert_same_predictions(tiny_model(tokenizer, pad=pad), utterances, tokenizer, config)
    assert len({item.values["asr"] for item in found}) > 1  # else the comparison would show little


def test_padded_to_30_s_an_utterance_is_the_same_alone_and_in_a_batch(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("gender emotion asr"), "bpe", "en")
    model = tiny_model(tokenizer, pad="30s")
    utterances = write_utterances(tmp_path, SECONDS[:2], VALUES[:2])
    batch = batch_of(utterances, tokenizer)
    alone = [batch_of([utterance], tokenizer) for utterance in utterances]
    for single, logits_LV in zip(alone, logits_of(model, batch)):
        alone_LV = logits_of(model, single)[0]
        assert (logits_LV[: len(alone_LV)] - alone_LV).abs().max() < TOLERANCE
    assert_same_predictions(model, utterances, tokenizer, DecodeConfig(beam_size=2, maxlenratio=0.005))


@pytest.mark.parametrize("pad", ["none", "+0.5", "to 3", "30s"])
def test_the_conventional_method_gives_an_utterance_the_same_alone_and_in_a_batch(bpe_tokens, tmp_path, pad):
    tokenizer = Tokenizer(bpe_tokens, [GENDER, EMOTION], "bpe", "en")
    model = tiny_model(tokenizer, kind="encoder_classifier", pad=pad)
    count = 2 if pad == "30s" else 4  # 30 s are slow
    utterances = write_utterances(tmp_path, SECONDS[:count], VALUES[:count])
    batch, total = batch_of(utterances, tokenizer), 0.0
    together = model.logits(batch)
    for b, utterance in enumerate(utterances):
        single = batch_of([utterance], tokenizer)
        for logits_BC, alone_BC in zip(together, model.logits(single), strict=True):
            assert (logits_BC[b] - alone_BC[0]).abs().max() < TOLERANCE
        total += model(single).loss.item()
    assert model(batch).loss.item() == pytest.approx(total, abs=TOLERANCE)
    assert_same_predictions(model, utterances, tokenizer, DecodeConfig())


def test_the_pad_rule_changes_what_a_model_says(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")
    batch = batch_of(write_utterances(tmp_path, SECONDS[:1], VALUES[:1]), tokenizer)
    plain, padded = (logits_of(tiny_model(tokenizer, pad=pad), batch) for pad in ("none", "+0.5"))
    assert (plain - padded).abs().max() > 100 * TOLERANCE


def test_the_padding_token_of_the_decoder_input_does_not_matter(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("asr gender emotion"), "bpe", "en")
    model = tiny_model(tokenizer)
    batch = batch_of(write_utterances(tmp_path, SECONDS, VALUES), tokenizer)
    loss = model(batch).loss
    length_B = torch.tensor([len(tokenizer.prefix) - 1 + len(tokenizer.encode(values)[0]) for values in VALUES])
    padding_BL = torch.arange(batch.input_BL.shape[1]) >= length_B[:, None]
    assert padding_BL.any()
    batch.input_BL = batch.input_BL.masked_fill(padding_BL, 7)
    assert torch.equal(model(batch).loss, loss)
