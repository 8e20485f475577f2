"""egs/ravdess: the published layout becomes a data directory; a copy that is not whole stops with its differences."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from repository import EGS

from whisper_er.data.kaldi import read_dir, validate

LOCAL = EGS / "ravdess/ser1/local"


def published(actor: int) -> list[str]:
    """The 60 utterances of an actor: 4 neutral ones, and 8 (4 normal, 4 strong) of each of the other 7 emotions."""
    return [
        f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"
        for emotion in range(1, 9)
        for intensity in ([1] if emotion == 1 else [1, 2])
        for statement in (1, 2)
        for repetition in (1, 2)
    ]


def make_tree(root: Path, utt_ids: list[str], suffix: str = ".wav") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for utt_id in utt_ids:
        actor_dir = root / f"Actor_{utt_id[-2:]}"
        actor_dir.mkdir(exist_ok=True)
        (actor_dir / f"{utt_id}{suffix}").touch()
    return root


ALL = [utt_id for actor in range(1, 25) for utt_id in published(actor)]


def prepare(out_dir: Path, *options: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, LOCAL / "prepare_ravdess.py", "--out_dir", out_dir, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def error_of(out_dir: Path, *options: str | Path) -> str:
    """The one line of a run that must fail and leave nothing."""
    result = prepare(out_dir, *options)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not out_dir.exists()
    return result.stderr


@pytest.mark.parametrize(("parent", "suffix"), [("", ".wav"), ("", ".flac"), ("Audio_Speech_Actors_01-24", ".wav")])
def test_the_whole_corpus_passes_and_its_folds_share_no_speaker(tmp_path, parent, suffix):
    make_tree(tmp_path / "RAVDESS speech" / parent, ALL, suffix)
    result = prepare(tmp_path / "all", "--corpus_dir", tmp_path / "RAVDESS speech")
    assert result.returncode == 0, result.stderr
    assert "1440 utterances, 24 speakers, 6 folds" in result.stdout
    assert "ignored" not in result.stdout
    data = read_dir(tmp_path / "all")
    validate(tmp_path / "all", data, ["asr", "emotion", "gender", "intensity"])
    assert sorted(data["text"]) == sorted(ALL)
    assert set(Counter(data["utt2spk"].values()).values()) == {60}
    actors: dict[str, set[int]] = {}
    for utt_id, fold in data["utt2fold"].items():
        actors.setdefault(fold, set()).add(int(utt_id[-2:]))
    assert actors == {
        "1": {1, 2, 3, 4},
        "2": {5, 6, 7, 8},
        "3": {9, 10, 11, 12},
        "4": {13, 14, 15, 16},
        "5": {17, 18, 19, 20},
        "6": {21, 22, 23, 24},
    }
    assert Counter(data["utt2emotion"].values()) == {
        "neutral": 96,
        **dict.fromkeys(("calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised"), 192),
    }


def test_a_name_becomes_the_labels_and_the_sentence(tmp_path):
    neutral, fearful = "03-01-01-01-01-01-01", "03-01-06-02-02-01-12"
    corpus = make_tree(tmp_path / "ravdess", [neutral, fearful])
    assert prepare(tmp_path / "all", "--corpus_dir", corpus, "--check_counts", "false").returncode == 0
    assert read_dir(tmp_path / "all") == {
        "wav.scp": {neutral: f"{corpus}/Actor_01/{neutral}.wav", fearful: f"{corpus}/Actor_12/{fearful}.wav"},
        "text": {neutral: "Kids are talking by the door", fearful: "Dogs are sitting by the door"},
        "utt2spk": {neutral: "Actor_01", fearful: "Actor_12"},
        "utt2gender": {neutral: "male", fearful: "female"},
        "utt2emotion": {neutral: "neutral", fearful: "fearful"},
        "utt2intensity": {neutral: "normal", fearful: "strong"},
        "utt2fold": {neutral: "1", fearful: "3"},
    }


def test_a_copy_that_is_not_whole_stops_and_names_the_differences(tmp_path):
    no_strong_neutral_exists = "03-01-01-02-01-01-01"
    corpus = make_tree(tmp_path / "ravdess", [*ALL[60:], no_strong_neutral_exists])
    error = error_of(tmp_path / "all", "--corpus_dir", corpus)
    assert "1380 of the 1440" in error
    assert "60 missing (03-01-01-01-01-01-01, 03-01-01-01-01-02-01, " in error
    assert f"1 not in the published list ({no_strong_neutral_exists})" in error
    assert "--check_counts false" in error


def test_song_hidden_and_other_files_are_left_out_and_counted(tmp_path):
    song = [utt_id.replace("03-01-", "03-02-", 1) for utt_id in ALL if utt_id[6:8] < "07" and utt_id[-2:] != "18"]
    assert len(song) == 1012
    corpus = make_tree(tmp_path / "ravdess", [*ALL, *song])
    for name in ("._03-01-01-01-01-01-01.wav", "03-01-01-01-01-01-01.txt", "01-01-01-01-01-01-01.wav"):
        (corpus / "Actor_01" / name).touch()
    result = prepare(tmp_path / "all", "--corpus_dir", corpus)
    assert "ignored 1012 song files (channel 02)" in result.stdout
    assert (
        "ignored 1 audio files that are not named like 03-01-01-01-01-01-01: 01-01-01-01-01-01-01.wav" in result.stdout
    )
    assert sorted(read_dir(tmp_path / "all")["text"]) == sorted(ALL)


def test_a_missing_corpus_is_one_line_that_says_where_to_get_it(tmp_path):
    make_tree(tmp_path / "song", ["03-02-01-01-01-01-01"])
    for options in ([], ["--corpus_dir", tmp_path / "nowhere"], ["--corpus_dir", tmp_path / "song"]):
        error = error_of(tmp_path / "all", *options)
        assert "Actor_01" in error
        assert "https://zenodo.org/records/1188976" in error
        assert all(str(option) in error for option in options[1:])


@pytest.mark.skipif("WHISPER_ER_ASSETS" not in os.environ, reason="WHISPER_ER_ASSETS names no directory of corpora")
def test_the_real_corpus_agrees_with_its_manifest(tmp_path):
    corpus = Path(os.environ["WHISPER_ER_ASSETS"]) / "corpora" / "ravdess"
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        audio = corpus / row["audio"]
        (tmp_path / "ravdess" / audio.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "ravdess" / audio.parent.name / audio.name).symlink_to(audio)
    result = prepare(tmp_path / "all", "--corpus_dir", tmp_path / "ravdess")
    assert result.returncode == 0, result.stderr
    data = read_dir(tmp_path / "all")
    names = {
        "neutral": "neutral",
        "calm": "calm",
        "happiness": "happy",
        "sadness": "sad",
        "anger": "angry",
        "fear": "fearful",
        "disgust": "disgusted",
        "surprise": "surprised",
    }
    assert data["utt2emotion"] == {row["id"]: names[row["emotion"]] for row in rows}
    assert data["utt2gender"] == {row["id"]: row["gender"] for row in rows}
    assert data["utt2intensity"] == {row["id"]: row["intensity"] for row in rows}
    assert data["utt2spk"] == {row["id"]: f"Actor_{row['speaker']}" for row in rows}
    assert data["text"] == {row["id"]: row["text"].removesuffix(".") for row in rows}
    assert all(Path(path).stat().st_size > 0 for path in data["wav.scp"].values())
