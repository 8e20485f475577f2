"""`whisper-er recognize --word_times --emotion_every`, and the same in Python."""

import json

import numpy as np
import pytest
import soundfile
from tiny_experiment import call

from whisper_er import Recognizer
from whisper_er.base.errors import UserError
from whisper_er.bin import recognize
from whisper_er.data import kaldi
from whisper_er.recognize.result import Segment
from whisper_er.recognize.times import Times, with_times
from whisper_er.task import Prediction
from whisper_er.timing.spans import Span


@pytest.fixture(scope="module")
def talk(trained, tmp_path_factory):
    """Two utterances with 2 s of silence between."""
    files = list(kaldi.read_table(trained / "test" / "wav.scp").values())
    waves = [soundfile.read(file, dtype="float32")[0] for file in files[:2]]
    path = tmp_path_factory.mktemp("talk") / "my talk.wav"
    soundfile.write(path, np.concatenate([waves[0], np.zeros(32000, np.float32), waves[1]]), 16000, subtype="FLOAT")
    return path


def printed(trained, capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        call(recognize, "--model", trained / "exp", "--beam_size", 2, *words)
    assert ended.value.code == 0
    return capsys.readouterr().out


class ByLoudness:
    """A recognizer that takes what is loud for happy, and what is not for sad; it keeps what it is given."""

    def __init__(self, model):
        self.model, self.waves = model, []

    def recognize(self, waves):
        self.waves += waves
        loud = [float(np.abs(wave).max()) > 0.25 for wave in waves]
        labels = self.model.tokenizer.tasks[-1].labels
        found = [("happy", [0.75, 0.25]) if one else ("sad", [0.0, 1.0]) for one in loud]
        assert labels == ("happy", "sad")
        return [Prediction("", {"emotion": label}, {"emotion": posterior}) for label, posterior in found]


def test_a_label_is_of_the_audio_of_its_window_and_silence_has_none(trained):
    recognizer = ByLoudness(Recognizer.from_pretrained(trained / "exp").model)
    noise = np.random.default_rng(0).uniform(-1, 1, 32000).astype(np.float32)
    wave = np.concatenate([0.3 * noise, np.zeros(32000, np.float32), 0.2 * noise])
    segment = Segment(10.0, 16.0, "", {}, {}, {})
    (found,) = with_times(Times(emotion_every=1.0, window=1.5), recognizer, [segment], [wave])
    assert found.emotions == (Span(10, 12, "happy", 0.75), Span(14, 16, "sad", 1.0))
    starts = [0, 12000, 60000, 72000]  # around each second, within the utterance
    assert all((one == wave[start : start + 24000]).all() for one, start in zip(recognizer.waves, starts, strict=True))


def test_without_the_options_nothing_is_computed_or_written(trained, talk, capsys):
    plain = json.loads(printed(trained, capsys, "--format", "jsonl", talk))
    found = json.loads(printed(trained, capsys, "--format", "jsonl", "--word_times", "--emotion_every", "0.5", talk))
    (segment,), (timed,) = plain["segments"], found["segments"]
    assert timed.keys() - segment.keys() == {"words", "emotions"}
    assert {name: timed[name] for name in segment} == segment
    assert [word["text"] for word in timed["words"]] == segment["text"].split()


def test_words_are_written_as_ctm_and_emotions_as_rttm(trained, talk, capsys):
    text = json.loads(printed(trained, capsys, "--format", "jsonl", talk))["text"]
    ctm = [line.split() for line in printed(trained, capsys, "--format", "ctm", talk).splitlines()]
    assert [line[4] for line in ctm] == text.split() and {tuple(line[:2]) for line in ctm} == {("my_talk", "1")}
    for every in ("0.5", "word"):
        out = printed(trained, capsys, "--format", "rttm", "--emotion_every", every, talk)
        rttm = [line.split() for line in out.splitlines()]
        assert rttm and all(len(line) == 10 and line[:3] == ["SPEAKER", "my_talk", "1"] for line in rttm)
        assert {line[7] for line in rttm} <= {"happy", "sad"}


@pytest.mark.parametrize("words, message", [
    (["--word_times"], "--word_times: --format text has no place for it; allowed: jsonl ctm"),
    (["--emotion_every", "1", "--format", "csv"], "--format csv has no place for it; allowed: jsonl rttm"),
    (["--emotion_every", "often", "--format", "rttm"], "--emotion_every often: give seconds, or 'word'"),
    (["--format", "rttm"], "give --emotion_every SECONDS or word"),
    (["--emotion_every", "-1", "--format", "rttm"], "emotion_every=-1: allowed are 0.1 to 30 s"),
    (["--emotion_every", "1", "--emotion_window", "0", "--format", "rttm"], "emotion_window=0: allowed are 0.1 to 30"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(trained, talk, words, message):
    with pytest.raises(UserError, match=message):
        call(recognize, "--model", trained / "exp", *words, talk)


def test_a_model_without_text_has_no_word_times(trained):
    recognizer = Recognizer.from_pretrained(trained / "exp")
    recognizer.tokenizer.tasks = tuple(task for task in recognizer.tokenizer.tasks if task.kind != "text")
    with pytest.raises(UserError, match="word times: the model has no task 'asr' that writes words"):
        Times(words=True).check(recognizer.model)


def test_ctranslate2_shows_no_attention(trained):
    class Engine:
        family, tokenizer = "CTranslate2", Recognizer.from_pretrained(trained / "exp").tokenizer

    with pytest.raises(UserError, match="word times: a CTranslate2 model shows no attention"):
        Times(words=True).check(Engine())
    Times(emotion_every=1.0).check(Engine())
