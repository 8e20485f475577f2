"""Answers given the references before them: one forward pass against the decoder fed token by token."""

import zlib

import pytest
import torch
from tiny_whisper import EMOTION, GENDER, ORDERS, batch_of, tasks_of, tiny_model, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.config import DecodeConfig
from whisper_er.data.collate import collate
from whisper_er.models.decoder import cross_attention_inputs, decode
from whisper_er.task import scale
from whisper_er.text.tokenizer import Tokenizer

VALENCE = scale("valence", 1, 5, 3)
ALL = {"asr": "really good .", "gender": "male", "emotion": "happy", "valence": "2.4"}
VALUES = [
    ALL,
    ALL | {"asr": "", "emotion": "sad"},
    ALL | {"asr": "a really sad day", "gender": ""},
    ALL | {"asr": "good day", "valence": "", "emotion": ""},
    {"asr": "", "gender": "", "emotion": "", "valence": ""},
]
SECONDS = [0.4, 0.5, 0.3, 0.6, 0.2]


@torch.no_grad()
def logits_after(model, utterance, ids: list[int]) -> torch.Tensor:
    """(V,): what an utterance's decoder says after the prefix and these tokens, fed one by one through the cache."""
    batch = batch_of([utterance], model.tokenizer)
    cross, past = cross_attention_inputs(model.decoder, *model.encode(batch)), None
    for token in [*model.tokenizer.prefix, *ids]:
        hidden_11D, past = decode(model.decoder, torch.tensor([[token]]), cross, past)
    return model.logits(hidden_11D[0, 0])


def step_by_step(model, utterance) -> tuple[dict[str, str], dict[str, list[float]]]:
    """Values and posteriors. What ends a target without a label is not fed: nothing behind it is asked for."""
    tokenizer, given, values, posteriors = model.tokenizer, [], {}, {}
    for k, task in enumerate(tokenizer.tasks):
        value, ids = utterance.values[task.name], tokenizer.task_ids[k]
        is_last = k == len(tokenizer.tasks) - 1
        if task.kind == "text":
            reference = tokenizer.text.encode(value) if value else []
            asked = [*reference, tokenizer.end] if reference and is_last else reference
            said = [int(logits_after(model, utterance, [*given, *asked[:i]]).argmax()) for i in range(len(asked))]
            values[task.name], given = tokenizer.decode_text(said), given + reference
            continue
        posterior = logits_after(model, utterance, given)[ids].softmax(0).tolist()
        posteriors[task.name] = posterior
        values[task.name] = task.value(posterior, posterior.index(max(posterior)))
        if value:
            given = [*given, ids[task.index(value)]]
        elif any(utterance.values[later.name] for later in tokenizer.tasks[k + 1 :]):
            given = [*given, ids[zlib.crc32(utterance.utt_id.encode()) % len(ids)]]
    return values, posteriors


@pytest.mark.parametrize("order", ORDERS)
def test_one_forward_pass_gives_what_step_by_step_decoding_of_the_references_gives(base_tokens, tmp_path, order):
    token_type, tokens = base_tokens
    tokenizer = Tokenizer(tokens, [*tasks_of(order), VALENCE], token_type, "en")
    model, utterances = tiny_model(tokenizer), write_utterances(tmp_path, SECONDS, VALUES)
    predictions = model.given(batch_of(utterances, tokenizer))
    for utterance, prediction in zip(utterances, predictions, strict=True):
        values, posteriors = step_by_step(model, utterance)
        scales = [prediction.values.pop("valence"), values.pop("valence")]
        assert float(scales[0]) == pytest.approx(float(scales[1]), abs=1e-3)
        assert (prediction.utt_id, prediction.values) == (utterance.utt_id, values)
        for name, posterior in posteriors.items():
            assert prediction.posteriors[name] == pytest.approx(posterior, abs=1e-5)


def test_the_answer_depends_on_the_reference_before_it(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("asr gender emotion"), "bpe", "en")
    values = [ALL, ALL | {"gender": "female"}, ALL | {"asr": "good day"}, ALL | {"emotion": "sad"}]
    utterances = write_utterances(tmp_path, [0.4], [ALL]) * 4
    utterances = [type(one)(one.utt_id, one.audio, one.num_samples, value) for one, value in zip(utterances, values)]
    first, gender, text, emotion = (
        one.posteriors["emotion"] for one in tiny_model(tokenizer).given(batch_of(utterances, tokenizer))
    )
    assert emotion == pytest.approx(first, abs=1e-6)  # its own reference is not before it
    assert gender != pytest.approx(first, abs=1e-4) and text != pytest.approx(first, abs=1e-4)


def test_a_single_category_has_nothing_before_it_and_is_answered_as_by_the_search(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")
    model = tiny_model(tokenizer)
    batch = batch_of(write_utterances(tmp_path, SECONDS, VALUES), tokenizer)
    forced = model.predict(batch, DecodeConfig(teacher_forced=True))
    for one, other in zip(forced, model.predict(batch, DecodeConfig(beam_size=1)), strict=True):
        assert one.values == other.values
        assert one.posteriors["emotion"] == pytest.approx(other.posteriors["emotion"], abs=1e-5)


def test_a_target_that_fills_the_decoder_is_answered(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("asr emotion"), "bpe", "en")
    utterances = write_utterances(tmp_path, [0.3], [{"asr": "good day", "emotion": ""}])
    positions = len(tokenizer.prefix) + len(tokenizer.text.encode("good day")) - 1
    model = tiny_model(tokenizer, sizes={"max_target_positions": positions})
    [prediction] = model.given(collate(utterances, tokenizer, positions))
    assert prediction.values["emotion"] in EMOTION.labels


def test_the_conventional_method_has_nothing_to_force(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, [GENDER, EMOTION], "bpe", "en")
    model = tiny_model(tokenizer, kind="encoder_classifier")
    batch = batch_of(write_utterances(tmp_path, SECONDS, VALUES), tokenizer)
    with torch.no_grad():
        assert model.given(batch) == model.predict(batch, DecodeConfig())
        with pytest.raises(UserError, match="teacher_forced: encoder_classifier answers each task alone"):
            model.predict(batch, DecodeConfig(teacher_forced=True))


@pytest.mark.parametrize("option", [{"grammar": "free"}, {"suppress": "whisper"}, {"lang": "de"}])
def test_options_of_the_search_are_refused_with_it(option):
    with pytest.raises(UserError, match=rf"x.yaml: {next(iter(option))}: \w+ is not allowed.*with teacher_forced"):
        build(DecodeConfig, {"teacher_forced": True, **option}, "x.yaml")
