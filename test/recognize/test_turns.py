"""Dialogues: which turns are read before an utterance, in training, and in decoding, which reads its own hypotheses."""

import json
import shutil
from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
import tiny_whisper
import torch
import yaml
from tiny_experiment import call, decode_arguments, train_and_average

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.bin import decode, export, split_dir, token_list
from whisper_er.config import ContextConfig, DecodeConfig, TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.utterances import read_utterances
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.recognize.turns import predict_all, reads_references
from whisper_er.task import Prediction
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import PREVIOUS
from whisper_er.text.whisper_vocabulary import from_whisper

PREV = {"test-00": "", "test-01": "test-00", "test-02": "test-01", "test-03": "elsewhere"}


@pytest.fixture(scope="module")
def talks(corpus, tmp_path_factory):
    """The tiny corpus with dialogues, and a tiny Whisper that has <|startofprev|>."""
    root = shutil.copytree(corpus, tmp_path_factory.mktemp("turns") / "corpus")
    for name in ("train", "valid", "test"):
        utt_ids = sorted(kaldi.read_table(root / name / "utt2spk"))
        kaldi.write_table(root / name / "utt2prev", dict(zip(utt_ids, ["", *utt_ids])))
    kaldi.write_table(root / "test" / "utt2prev", PREV)
    with mock.patch.object(tiny_whisper, "WHISPER_SPECIAL", [*tiny_whisper.WHISPER_SPECIAL, PREVIOUS]):
        tiny_whisper.write_whisper(root / "whisper")
    return root


@pytest.fixture
def tokenizer(talks):
    tasks = tiny_whisper.tasks_of("asr gender emotion")
    return Tokenizer(from_whisper(str(talks / "whisper"), "en"), tasks, "whisper", "en")


def read(talks, tokenizer, labelled=True, name="test", **context):
    context = ContextConfig(**context)
    return read_utterances(talks / name, tokenizer, "error", labelled=labelled, context=context)


def test_an_utterance_has_the_turns_before_it_of_its_set(talks, tokenizer, capsys):
    first, second, third, other = read(talks, tokenizer, turns=1, labels=True)
    assert first.context == other.context == ()
    assert second.context == ({"asr": "one two", "gender": "male", "emotion": "sad"},)
    assert third.context == ({"asr": "", "gender": "female", "emotion": "happy"},)
    assert capsys.readouterr().out.endswith(
        "utt2prev: 1 dialogues of 4 utterances; 1 more start one, as the turn before is not in this set: test-03\n"
    )
    assert read(talks, tokenizer, turns=5)[2].context == ({"asr": "one two"}, {"asr": ""})
    assert read(talks, tokenizer)[2].context == ()


def test_what_dialogues_cannot_be_is_refused(talks, tokenizer, bpe_tokens, tmp_path):
    broken = shutil.copytree(talks / "test", tmp_path / "test")
    kaldi.write_table(broken / "utt2prev", PREV | {"test-00": "test-01"})
    with pytest.raises(UserError, match="in a circle: test-00, test-01, test-02"):
        read(tmp_path, tokenizer, turns=1)
    (broken / "utt2prev").unlink()
    with pytest.raises(UserError, match="utt2prev: no such file; context.turns=1 needs it"):
        read(tmp_path, tokenizer, turns=1)
    with pytest.raises(UserError, match="set context.labels=true"):
        labels_alone = Tokenizer(tokenizer.text, tiny_whisper.tasks_of("gender emotion"), "whisper", "en")
        read(talks, labels_alone, turns=1)
    with pytest.raises(UserError, match="has no <|startofprev|>; start from a pretrained Whisper"):
        read(talks, Tokenizer(bpe_tokens, tokenizer.tasks, "bpe", "en"), turns=1)


def echo(tokenizer, seen):
    """A recogniser that answers each utterance by a letter of its own, and notes what the decoder reads before it."""

    def predict(batches, config):
        for batch in batches:
            context_B = [0] * len(batch) if batch.context_B is None else batch.context_B.tolist()
            answers = []
            for utt_id, input_L, length in zip(batch.utt_ids, batch.input_BL.tolist(), context_B):
                seen[utt_id] = tokenizer.decode_text(input_L[1:length])
                answers.append(
                    Prediction(utt_id, {"asr": "abcd"[int(utt_id[-1])], "gender": "male", "emotion": ""}, {})
                )
            yield answers

    model, device = SimpleNamespace(max_target=64), torch.device("cpu")
    config = TrainConfig(context=ContextConfig(turns=2))
    recognizer = SimpleNamespace(tokenizer=tokenizer, model=model, device=device, config=config, predict=predict)
    recognizer.plan = partial(Recognizer.plan, recognizer)
    return recognizer


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_turn_is_read_with_the_hypotheses_of_those_before_it_or_with_their_references(talks, tokenizer, num_workers):
    seen = {}
    recognizer, config = echo(tokenizer, seen), DecodeConfig(batch_size=2)
    utterances = read(talks, tokenizer, labelled=reads_references(recognizer, config), turns=2)
    batches = list(predict_all(recognizer, utterances, config, num_workers))
    assert [{one.utt_id for one in batch} for batch in batches] == [{"test-00", "test-03"}, {"test-01"}, {"test-02"}]
    assert seen == {"test-00": "", "test-03": "", "test-01": "a", "test-02": "a b"}
    config = DecodeConfig(context_from="ref")
    utterances = read(talks, tokenizer, labelled=reads_references(recognizer, config), turns=2)
    (batch,) = predict_all(recognizer, utterances, config, num_workers)
    assert len(batch) == 4 and seen["test-02"] == seen["test-01"] == "one two"


def test_settings_that_a_model_cannot_take_are_refused(tokenizer):
    recognizer = echo(tokenizer, {})
    with pytest.raises(UserError, match="set context_from=ref"):
        reads_references(recognizer, DecodeConfig(teacher_forced=True))
    recognizer.config = TrainConfig()
    with pytest.raises(UserError, match="trained without context.turns; set hyp"):
        reads_references(recognizer, DecodeConfig(context_from="ref"))
    assert not reads_references(recognizer, DecodeConfig())


@pytest.mark.parametrize(
    "values, message",
    [
        ({"context": {"turns": 1}, "model": {"kind": "encoder_classifier"}}, "allowed: seq2seq with context.turns"),
        ({"context": {"turns": 1}, "distil": {"model": "pretrained"}}, "allowed: none with context.turns"),
        ({"context": {"labels": True}}, "allowed: false with turns=0"),
    ],
)
def test_a_training_that_no_turns_fit_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        build(TrainConfig, values, "train.yaml")


def test_parts_of_a_set_are_of_whole_dialogues_for_a_model_that_reads_them(talks, tmp_path):
    (tmp_path / "config.yaml").write_text("context: {turns: 1}\n")
    words = ["--data_dir", talks / "test", "--out_dir", tmp_path, "--exp_dir", tmp_path]
    call(split_dir, *words, "--n", 2)
    parts = [kaldi.utterances(kaldi.read_dir(tmp_path / name)) for name in "12"]
    assert parts == [["test-00", "test-01", "test-02"], ["test-03"]]
    with pytest.raises(UserError, match="allowed are 1 to 2, one for each dialogue"):
        call(split_dir, *words, "--n", 3)
    (tmp_path / "config.yaml").write_text("{}\n")
    call(split_dir, *words, "--n", 4)
    assert [kaldi.utterances(kaldi.read_dir(tmp_path / name)) for name in "1234"] == [[utt_id] for utt_id in PREV]


def test_from_training_to_hypotheses(talks, tmp_path):
    about = ["--tasks", "asr gender emotion", "--token_type", "whisper", "--whisper_model", talks / "whisper"]
    call(token_list, "--train_set", talks / "train", "--out_dir", talks / "token_list", *about)
    settings = yaml.safe_load((talks / "train.yaml").read_text()) | {"model": {"whisper_model": str(talks / "whisper")}}
    (talks / "train.yaml").write_text(yaml.safe_dump(settings))
    train_and_average(talks, tmp_path / "exp", "max_steps=2", "context.turns=2", "context.labels=true")
    call(decode, *decode_arguments(talks, tmp_path / "exp", tmp_path / "hyp", "beam_size=1"))
    how = json.loads((tmp_path / "hyp" / "decode.json").read_text())
    assert (how["context_from"], how["context_turns"], how["context_labels"]) == ("hyp", 2, True)
    assert len(kaldi.read_table(tmp_path / "hyp" / "text")) == 4
    call(export, "--exp_dir", tmp_path / "exp", "--out_dir", tmp_path / "export")
    assert "with up to 2 turns of the conversation before" in (tmp_path / "export" / "README.md").read_text()
    again = decode_arguments(talks, tmp_path / "export", tmp_path / "again", "beam_size=1")
    call(decode, *again, "--allow_shared_speakers", "true", "--model", "model.safetensors")
    assert (tmp_path / "again/posteriors.jsonl").read_bytes() == (tmp_path / "hyp/posteriors.jsonl").read_bytes()
