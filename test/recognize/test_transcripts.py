"""Zero-shot transcripts are what transformers' generate writes; a stopped run goes on; results name who wrote them."""

import json
import shutil
from unittest import mock

import pytest
import torch
import yaml
from tiny_experiment import TASKS, call, change
from tiny_whisper import teach_to_end, write_utterances
from transformers import GenerationConfig, GenerationMixin, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from whisper_er.audio.reading import load_audio
from whisper_er.base.errors import UserError
from whisper_er.bin import score, transcribe
from whisper_er.config import TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.text_sources import TEXT_SOURCE
from whisper_er.models.seq2seq import CUT
from whisper_er.recognize import transcripts
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.task import Prediction
from whisper_er.text.repetition import REPEATS
from whisper_er.text.whisper_vocabulary import from_whisper
from whisper_er.train import experiment

LANGUAGES = ["", "de", "", "de", ""]


@pytest.fixture(scope="module")
def whisper(whisper_directory, tmp_path_factory):
    """A tiny Whisper whose transcripts end."""
    directory = shutil.copytree(whisper_directory, tmp_path_factory.mktemp("transcripts") / "whisper-tiny")
    teach_to_end(directory)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dump directory of five utterances, two of them in German."""
    root = tmp_path_factory.mktemp("data")
    utts = write_utterances(root, [0.9, 0.7, 1.2, 1.0, 0.8], [{}] * 5)
    kaldi.write_dir(root / "dump", {
        "wav.scp": {utt.utt_id: utt.audio for utt in utts}, "utt2spk": {utt.utt_id: "s" for utt in utts},
        "utt2num_samples": {utt.utt_id: str(utt.num_samples) for utt in utts},
        "utt2lang": {utt.utt_id: language for utt, language in zip(utts, LANGUAGES, strict=True)},
    })  # fmt: skip
    return root / "dump"


def write(data, whisper, out, *options) -> kaldi.Table:
    call(transcribe, "--data_dir", data, "--whisper_model", whisper, "--out", out, "--batch_size", 2, *options)
    return kaldi.read_table(out)


@pytest.mark.parametrize("beam_size", [1, 4])
@torch.no_grad()
def test_the_transcripts_are_those_of_generate(data, whisper, tmp_path, beam_size):
    found = write(data, whisper, tmp_path / "text", "--beam_size", beam_size, "--no_repeat_ngram_size", 0)
    theirs, text = WhisperForConditionalGeneration.from_pretrained(whisper).eval(), from_whisper(str(whisper), "en")
    audio = kaldi.read_table(data / "wav.scp")
    for language in ("en", "de"):
        utt_ids = [utt_id for utt_id, one in zip(audio, LANGUAGES) if (one or "en") == language]
        waves = [load_audio(audio[utt_id], utt_id) for utt_id in utt_ids]
        mel_BFN = WhisperFeatureExtractor()(waves, sampling_rate=16000, return_tensors="pt").input_features
        prefix = text.prefix_in(language)
        generated = GenerationMixin.generate(
            theirs,
            encoder_outputs=BaseModelOutput(theirs.model.encoder(mel_BFN).last_hidden_state),
            decoder_input_ids=torch.tensor([prefix] * len(waves)),
            generation_config=GenerationConfig(
                num_beams=beam_size, do_sample=False, max_length=64, eos_token_id=text.end, pad_token_id=text.end,
                decoder_start_token_id=prefix[0], suppress_tokens=list(text.suppressed.always),
                begin_suppress_tokens=list(text.suppressed.first),
            ),
        )  # fmt: skip
        for utt_id, ids in zip(utt_ids, generated.tolist(), strict=True):
            said = ids[len(prefix) :]
            assert text.end in said  # else it is cut, which ours ends by <|endoftext|>
            assert found[utt_id] == " ".join(text.decode(said[: said.index(text.end)]).split())
    assert len(set(found.values())) > 1


def test_a_stopped_run_goes_on_where_it_was_and_one_with_other_options_starts_over(data, whisper, tmp_path, capsys):
    whole = write(data, whisper, tmp_path / "whole")
    predict, calls = Recognizer.predict, []

    def stopped(self, batches, config):
        calls.append(config.beam_size)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, batches, config)

    out = tmp_path / "text"
    with mock.patch.object(Recognizer, "predict", stopped), pytest.raises(KeyboardInterrupt):
        write(data, whisper, out)  # two of three batches are done
    with open(tmp_path / "text.parts/transcripts.jsonl", "a") as file:
        file.write('{"utt_id": "u')  # as a kill leaves it
    assert not out.exists()
    left = shutil.copytree(tmp_path / "text.parts", tmp_path / "other.parts")
    with mock.patch.object(Recognizer, "predict", stopped):
        assert write(data, whisper, out) == whole
        assert "4 of 5 utterances were transcribed before" in capsys.readouterr().out
        assert len(calls) == 4 and not out.with_name("text.parts").exists()
        write(data, whisper, tmp_path / "other", "--beam_size", 4)
    assert calls[4:] == [4, 4, 4] and not left.exists()


def test_a_transcript_that_repeats_itself_is_written_again_and_named(data, whisper_directory, tmp_path, capsys):
    """This Whisper says one byte for ever."""
    repeating = write(data, whisper_directory, tmp_path / "as_it_is", "--no_repeat_ngram_size", 0, "--beam_size", 4)
    assert "warning: 5 of 5 utterances: the text repeats itself: u0, u1" in capsys.readouterr().out
    found = write(data, whisper_directory, tmp_path / "text", "--beam_size", 4)
    said = capsys.readouterr().out
    assert "5 of 5 utterances: the transcript repeated itself, and was written again without that: u0" in said
    assert "the text repeats itself" not in said
    assert (
        "5 of 5 utterances: the transcript has no end, or leaves no room for 16 more tokens, and was left empty" in said
    )
    assert set(repeating.values()) == set(found.values()) == {""}


def test_empty_transcripts_are_named():
    lines = [transcripts.Transcript("a", "", [transcripts.EMPTY]), transcripts.Transcript("b", "so", [])]
    assert list(transcripts.doubts(lines)) == ["warning: 1 of 2 utterances: the transcript is empty: a"]


def test_a_transcript_that_training_could_not_take_is_left_empty(whisper):
    """Of 64 positions, the prefix takes 4, the space in front 1 and each letter 1: 43 letters leave 16, 44 leave 15."""
    tokenizer = transcripts.open_whisper(str(whisper), "en").tokenizer
    assert len(tokenizer.prefix) == 4 and len(tokenizer.text.encode("aba")) == 4 and transcripts.ROOM == 16

    def written(text: str, *warnings: str) -> transcripts.Transcript:
        return transcripts.to_transcript(Prediction("u", {"asr": text}, {}, 0.0, warnings), [], tokenizer, 64)

    assert written("ab" * 21 + "a", REPEATS) == transcripts.Transcript("u", "ab" * 21 + "a", [REPEATS])
    assert written("ab" * 22) == transcripts.Transcript("u", "", [transcripts.TOO_LONG])
    assert written("ab", CUT, REPEATS) == transcripts.Transcript("u", "", [REPEATS, transcripts.TOO_LONG])


def test_an_english_only_whisper_writes_english_alone(data, whisper, tmp_path):
    english = shutil.copytree(whisper, tmp_path / "whisper-tiny.en")
    (english / "generation_config.json").write_text('{"is_multilingual": false}')
    with pytest.raises(UserError, match="--lang de: .*whisper-tiny.en knows English alone"):
        write(data, english, tmp_path / "text", "--lang", "de")
    with pytest.raises(UserError, match="utt2lang: 2 utterances: u1 in de, u3 in de; give a multilingual Whisper"):
        write(data, english, tmp_path / "text")
    assert not (tmp_path / "text").exists()


def test_the_protocol_says_who_wrote_the_transcripts(root):
    def protocol(sources: dict[str, list[str]]) -> str:
        for name, values in sources.items():
            ids = kaldi.read_table(root / name / "utt2spk")
            kaldi.write_table(root / name / TEXT_SOURCE, dict(zip(ids, values, strict=True)))
        inputs = {"train_set": root / "train", "valid_set": root / "valid", "token_list": root / "token_list"}
        description = experiment.describe(TrainConfig(), inputs, {})["data"]
        (root / "exp/data.yaml").write_text(yaml.safe_dump(description))
        hyp = root / "exp/decode_x/test"
        call(score, "--ref_dir", root / "test", "--hyp_dir", hyp, "--tasks", TASKS, "--exp_dir", root / "exp", "--out",
             hyp / "score/result.json")  # fmt: skip
        return json.loads((hyp / "score/result.json").read_text())["protocol"].partition("transcripts of ")[2]

    by = "my_whisper-base_zero-shot"
    assert protocol({}) == (
        "training: 9 by humans and 2 without a transcript, of test: 3 by humans and 1 without a transcript"
    )
    for name in ("train", "test"):
        texts = kaldi.read_table(root / name / "text")
        kaldi.write_table(root / name / "text", {utt_id: text or "so" for utt_id, text in texts.items()})
    assert protocol({}) == ""
    assert protocol({"train": [by] * 11, "test": [by] * 4}) == (
        "training and test: my_whisper-base, zero-shot; the WER is against these, not against human transcripts"
    )
    assert protocol({"train": [by] * 3 + [""] * 8, "test": [by, "", "", ""]}) == (
        "training: 3 by my_whisper-base, zero-shot and 8 by humans, of test: 1 by my_whisper-base, zero-shot and 3 by "
        "humans; the WER of 1 test utterances is not against human transcripts"
    )
    assert protocol({"test": [""] * 4}) == "training: 3 by my_whisper-base, zero-shot and 8 by humans, of test: humans"
    change(root / "train", "text", train_00="", train_10="")
    assert protocol({}).startswith("training: 2 by my_whisper-base, zero-shot and 7 by humans and 2 without a transc")
