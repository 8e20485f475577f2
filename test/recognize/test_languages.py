"""The language of each utterance: in the prefix, in training and decoding, or told by the model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_export import sounds, write_experiment
from tiny_whisper import batch_of, tasks_of, tiny_model, write_whisper
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from whisper_er.base.errors import UserError
from whisper_er.config import DecodeConfig
from whisper_er.data import kaldi
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import DETECT

MARKS = {"en": "<|en|>", "de": "<|de|>"}


@pytest.fixture(scope="module")
def tokenizer(whisper_tokens):
    return Tokenizer(whisper_tokens, tasks_of("asr gender emotion"), "whisper", "en")


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(tokenizer)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    """One language after another; "" is that of the token list."""
    found = sounds(tmp_path_factory.mktemp("languages") / "wav")
    return [replace(utt, language=("", "de", "en")[index % 3]) for index, utt in enumerate(found)]


def write_data(directory, utterances, languages):
    kaldi.write_dir(directory, {
        "wav.scp": {utt.utt_id: utt.audio for utt in utterances}, "utt2spk": {utt.utt_id: "s" for utt in utterances},
        "utt2num_samples": {utt.utt_id: str(utt.num_samples) for utt in utterances},
        "utt2lang": {utt.utt_id: language for utt, language in zip(utterances, languages, strict=True)},
    })  # fmt: skip
    return directory


def test_the_table_chooses_the_prefix_of_each_utterance_and_that_is_said(tokenizer, utterances, tmp_path, capsys):
    directory = write_data(tmp_path / "set", utterances, [utt.language for utt in utterances])
    found = read_utterances(directory, tokenizer, "error", labelled=False)
    assert [utt.language for utt in found] == [utt.language for utt in sorted(utterances, key=lambda utt: utt.utt_id)]
    count = sum(utt.language == "de" for utt in utterances)
    assert f"languages of the prefixes: de {count}, en {len(utterances) - count}" in capsys.readouterr().out
    vocabulary = tokenizer.text.vocabulary
    second = batch_of(utterances, tokenizer).input_BL[:, 1].tolist()
    assert second == [vocabulary[MARKS[utt.language or "en"]] for utt in utterances]


def test_a_language_that_whisper_lacks_is_one_line(tokenizer, utterances, tmp_path):
    directory = write_data(tmp_path / "set", utterances, ["xx", *["en"] * (len(utterances) - 1)])
    with pytest.raises(UserError, match=r"set/utt2lang: lang=xx: .*; use a code such as en"):
        read_utterances(directory, tokenizer, "error", labelled=False)


def test_a_language_that_is_to_be_predicted_is_not_in_the_prefix(whisper_tokens, utterances, tmp_path, capsys):
    tokenizer = Tokenizer(whisper_tokens, [Task("lang", "category", ("english", "german"))], "whisper", "en")
    directory = write_data(tmp_path / "set", utterances, ["german"] * len(utterances))
    found = read_utterances(directory, tokenizer, "error")
    assert {utt.language for utt in found} == {""} and {utt.values["lang"] for utt in found} == {"german"}
    assert "languages of the prefixes" not in capsys.readouterr().out


def test_each_utterance_is_decoded_and_learned_as_in_a_batch_of_its_language(model, tokenizer, utterances):
    mixed = model.predict(batch_of(utterances, tokenizer), DecodeConfig())
    losses = []
    for utt, together in zip(utterances, mixed):
        alone = batch_of([replace(utt, language="")], tokenizer)
        [expected] = model.predict(alone, DecodeConfig(lang=utt.language or "en"))
        assert (together.values, together.score) == (expected.values, pytest.approx(expected.score, abs=1e-5))
        alone.input_BL[:, 1] = tokenizer.text.vocabulary[MARKS[utt.language or "en"]]
        losses.append(float(model(alone).loss.detach()))
    assert float(model(batch_of(utterances, tokenizer)).loss.detach()) == pytest.approx(sum(losses), rel=1e-5)
    german, english = (model.predict(batch_of(utterances, tokenizer), DecodeConfig(lang=lang)) for lang in MARKS)
    assert [one.score for one in german] != [one.score for one in english]  # so that the above could fail


def test_the_likeliest_language_is_the_one_that_transformers_finds(tmp_path, tokenizer, utterances):
    """Of a pretrained model, whose own detection is asked: with 30 s of padding, as it takes no other."""
    from whisper_er.config import ModelConfig, TrainConfig

    write_whisper(tmp_path)
    ours = build_model(TrainConfig(model=ModelConfig(whisper_model=str(tmp_path), pad="30s")), tokenizer).eval()
    theirs = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    vocabulary = tokenizer.text.vocabulary
    theirs.generation_config.lang_to_id = {mark: vocabulary[mark] for mark in MARKS.values()}
    batch = batch_of([replace(utt, language="") for utt in utterances], tokenizer)
    with torch.no_grad():
        states_BTD, _ = ours.encode(batch)
        start_B1 = batch.input_BL[:, :1]
        hidden_BD = theirs.model.decoder(start_B1, encoder_hidden_states=states_BTD).last_hidden_state[:, 0]
        # The random weights hear one language everywhere: the rows of the two now differ by what tells the first sound
        # from the others.
        mean_D = hidden_BD.mean(0)
        apart_D = hidden_BD[0] - mean_D * (hidden_BD[0] @ mean_D) / (mean_D @ mean_D)
        for table in (ours.decoder.embed_tokens.weight, theirs.model.decoder.embed_tokens.weight):
            table[vocabulary[MARKS["de"]]] = table[vocabulary[MARKS["en"]]] + apart_D
        found = theirs.detect_language(encoder_outputs=BaseModelOutput(states_BTD)).tolist()
    predictions = ours.predict(batch, DecodeConfig(lang=DETECT))
    names = {vocabulary[mark]: language for language, mark in MARKS.items()}
    for utt, prediction, language_id in zip(utterances, predictions, found):
        alone = batch_of([replace(utt, language=names[language_id])], tokenizer)
        [expected] = ours.predict(alone, DecodeConfig())
        assert prediction.values == expected.values and np.isclose(prediction.score, expected.score, atol=1e-5)
    assert len(set(found)) == 2


def test_a_recognizer_is_opened_for_a_language(whisper_tokens, utterances, tmp_path):
    tokenizer = Tokenizer(whisper_tokens, tasks_of("asr gender emotion"), "whisper", "en")
    exp_dir = write_experiment(tmp_path / "exp", tiny_model(tokenizer))
    assert Recognizer.from_pretrained(exp_dir, language="de").decoding.lang == "de"
    assert Recognizer.from_pretrained(exp_dir, language=DETECT)(utterances[0].audio).labels
    with pytest.raises(UserError, match="lang=deutsch: .*; use a code such as en"):
        Recognizer.from_pretrained(exp_dir, language="deutsch")


def test_vocabularies_without_languages_say_so(bpe_tokens, utterances):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("asr gender emotion"), "bpe", "en")
    with pytest.raises(UserError, match="lang=auto: the prefix of this vocabulary names no language"):
        tiny_model(tokenizer).predict(
            batch_of([replace(utt, language="") for utt in utterances], tokenizer), DecodeConfig(lang=DETECT)
        )


def test_ctranslate2_takes_the_prefix_of_each_utterance(whisper_tokens, utterances, tmp_path):
    pytest.importorskip("ctranslate2")
    from tiny_export import learn

    from whisper_er.export.ctranslate2 import convert
    from whisper_er.recognize.pretrained import open_model

    tokenizer = Tokenizer(whisper_tokens, tasks_of("asr gender emotion"), "whisper", "en")
    exp_dir = write_experiment(tmp_path / "exp", learn(tokenizer, utterances))
    convert(exp_dir, tmp_path / "ct2", "float32")
    assert Recognizer.from_pretrained(tmp_path / "ct2", language="de").decoding.lang == "de"
    with pytest.raises(UserError, match="lang=auto: a CTranslate2 model does not find out the language; name it"):
        Recognizer.from_pretrained(tmp_path / "ct2", language=DETECT)
    theirs, ours = open_model(tmp_path / "ct2").model, open_model(exp_dir).model
    for config in (DecodeConfig(posterior="best"), DecodeConfig(posterior="best", lang="de")):
        for one, other in zip(*(each.predict(batch_of(utterances, tokenizer), config) for each in (ours, theirs))):
            assert one.values == other.values
            for task in one.posteriors:
                assert np.allclose(one.posteriors[task], other.posteriors[task], atol=1e-4)
