"""egs/mini_emo: the corpus is reproducible, and holds what its experiments need: words, voices, unseen sentences."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from repository import EGS

from whisper_er.audio.reading import audio_info, load_audio
from whisper_er.config import SAMPLE_RATE
from whisper_er.data.kaldi import read_dir, validate

LOCAL = EGS / "mini_emo/ser1/local"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def make(directory: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, LOCAL / "make_corpus.py", *options]
    return subprocess.run(command, cwd=directory, env=ONE_THREAD, capture_output=True, text=True, check=False)


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The corpus as run.sh makes it: (recipe directory, tables)."""
    directory = tmp_path_factory.mktemp("mini_emo")
    result = make(directory)
    assert result.returncode == 0, result.stderr
    assert "600 utterances of 10 speakers in 5 sessions" in result.stdout
    return directory, read_dir(directory / "data" / "all")


def test_the_tables_are_whole_and_each_session_is_a_man_and_a_woman(corpus):
    directory, data = corpus
    validate(directory / "data" / "all", data, ["asr", "gender", "emotion"])
    people = {(data["utt2fold"][utt], data["utt2gender"][utt], data["utt2spk"][utt]) for utt in data["text"]}
    assert sorted(person[:2] for person in people) == [
        (fold, gender) for fold in "12345" for gender in ("female", "male")
    ]
    assert len({speaker for _, _, speaker in people}) == 10


def test_every_speaker_has_fifteen_utterances_of_each_emotion(corpus):
    _, data = corpus
    count = defaultdict(int)
    for utt, speaker in data["utt2spk"].items():
        count[speaker, data["utt2emotion"][utt]] += 1
    assert set(count.values()) == {15}
    assert len(count) == 10 * 4


def test_the_audio_is_16_khz_mono_one_to_three_seconds_and_not_clipped(corpus, monkeypatch):
    directory, data = corpus
    monkeypatch.chdir(directory)
    for utt, entry in data["wav.scp"].items():
        info = audio_info(entry, utt)
        assert (info.sample_rate, info.channels) == (SAMPLE_RATE, 1)
        assert 1.0 <= info.num_samples / SAMPLE_RATE <= 3.0, utt
        assert 0.05 < np.abs(load_audio(entry, utt)).max() < 0.99, utt


def test_a_fifth_of_each_session_is_said_in_no_other_session(corpus):
    _, data = corpus
    for fold in "12345":
        here = [text for utt, text in data["text"].items() if data["utt2fold"][utt] == fold]
        elsewhere = {text for utt, text in data["text"].items() if data["utt2fold"][utt] != fold}
        unseen = set(here) - elsewhere
        assert 0.20 <= len(unseen) / len(set(here)) <= 0.30
        assert 0.20 <= sum(text in unseen for text in here) / len(here) <= 0.25
        assert {word for text in here for word in text.split()} <= {word for text in elsewhere for word in text.split()}


def test_neutral_and_sad_have_the_same_words_and_happy_and_angry_have_none_of_their_sentences(corpus):
    _, data = corpus
    texts = defaultdict(set)
    for utt, text in data["text"].items():
        texts[data["utt2spk"][utt], data["utt2emotion"][utt]].add(text)
    for speaker in set(data["utt2spk"].values()):
        assert texts[speaker, "neutral"] == texts[speaker, "sad"]
        assert len(texts[speaker, "neutral"]) == 15
        for emotion, other in (("happy", "angry"), ("happy", "neutral"), ("angry", "neutral")):
            assert not texts[speaker, emotion] & texts[speaker, other]


def test_a_sad_sentence_is_slower_and_quieter_than_the_neutral_one_of_every_speaker(corpus, monkeypatch):
    directory, data = corpus
    monkeypatch.chdir(directory)
    neutral = [utt for utt, emotion in data["utt2emotion"].items() if emotion == "neutral"]
    for utt in neutral:
        twin = utt.replace("neutral", "sad")
        assert data["text"][utt] == data["text"][twin]
        plain, sad = (load_audio(data["wav.scp"][name], name) for name in (utt, twin))
        assert len(sad) > 1.15 * len(plain)
        assert sad.std() < 0.8 * plain.std()


def test_happy_and_angry_are_the_same_voice_sample_for_sample():
    script = """
from espeak import speak
from make_corpus import SPEAKERS, line
for speaker in SPEAKERS:
    sound = {emotion: speak(line(speaker, emotion, "i see a red hat")).tobytes() for emotion in
             ("happy", "neutral", "sad", "angry")}
    assert sound["happy"] == sound["angry"], speaker
    assert len(set(sound.values())) == 3, speaker
"""
    subprocess.run([sys.executable, "-c", script], env={**ONE_THREAD, "PYTHONPATH": str(LOCAL)}, check=True)


def test_the_same_seed_makes_the_same_files_and_another_seed_other_ones(tmp_path):
    made = []
    for name, seed in (("first", "3"), ("again", "3"), ("other", "4")):
        (tmp_path / name).mkdir()
        assert make(tmp_path / name, "--utterances_per_speaker", "8", "--seed", seed).returncode == 0
        made.append(files(tmp_path / name))
    assert len(made[0]) == 80 + 6
    assert made[0] == made[1]
    assert made[0]["data/all/text"] != made[2]["data/all/text"]


def test_making_it_again_replaces_the_old_corpus_whole(tmp_path):
    for number in ("12", "8"):
        assert make(tmp_path, "--utterances_per_speaker", number).returncode == 0
    assert len(files(tmp_path)) == 80 + 6


@pytest.mark.parametrize("number", ["0", "4", "10", "-8", "400"])
def test_a_number_of_utterances_that_cannot_be_shared_out_is_an_error_before_anything_is_written(tmp_path, number):
    result = make(tmp_path, "--utterances_per_speaker", number)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: --utterances_per_speaker {number}: ")
    assert result.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())
