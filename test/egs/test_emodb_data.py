"""egs/emodb: the published layout becomes a data directory; a copy that is not whole stops with its differences."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from repository import EGS

from whisper_er.data.kaldi import read_dir, validate

LOCAL = EGS / "emodb/ser1/local"
PUBLISHED = (LOCAL / "utterances.txt").read_text(encoding="utf-8").split()


def make_tree(root: Path, utt_ids: list[str], suffix: str = ".wav") -> Path:
    (root / "wav").mkdir(parents=True)
    for utt_id in utt_ids:
        (root / "wav" / f"{utt_id}{suffix}").touch()
    return root


def prepare(out_dir: Path, *options: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, LOCAL / "prepare_emodb.py", "--out_dir", out_dir, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def error_of(out_dir: Path, *options: str | Path) -> str:
    """The one line of a run that must fail and leave nothing."""
    result = prepare(out_dir, *options)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not out_dir.exists()
    return result.stderr


def test_the_list_holds_the_published_number_of_utterances_per_emotion():
    assert len(set(PUBLISHED)) == 535
    assert Counter(utt_id[5] for utt_id in PUBLISHED) == {
        "W": 127,
        "L": 81,
        "E": 46,
        "A": 69,
        "F": 71,
        "T": 62,
        "N": 79,
    }


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_whole_corpus_passes_and_its_folds_share_no_speaker(tmp_path, suffix):
    corpus = make_tree(tmp_path / "emo db", PUBLISHED, suffix)
    result = prepare(tmp_path / "all", "--corpus_dir", corpus)
    assert result.returncode == 0, result.stderr
    assert "535 utterances, 10 speakers, 5 folds" in result.stdout
    data = read_dir(tmp_path / "all")
    validate(tmp_path / "all", data, ["asr", "emotion", "gender"])
    assert sorted(data["text"]) == sorted(PUBLISHED)
    pairs = {(fold, data["utt2spk"][utt_id], data["utt2gender"][utt_id]) for utt_id, fold in data["utt2fold"].items()}
    assert len(pairs) == 10
    assert Counter((fold, gender) for fold, _, gender in pairs) == {
        (str(fold), gender): 1 for fold in range(1, 6) for gender in ("male", "female")
    }
    per_fold = Counter((fold, data["utt2emotion"][utt_id]) for utt_id, fold in data["utt2fold"].items())
    assert len(per_fold) == 5 * 7
    assert min(per_fold.values()) == 5


def test_a_name_becomes_the_labels_and_the_sentence(tmp_path):
    corpus = make_tree(tmp_path / "emodb", ["03a01Fa", "16b10Wb", "08a04Nc"])
    assert prepare(tmp_path / "all", "--corpus_dir", corpus, "--check_counts", "false").returncode == 0
    data = read_dir(tmp_path / "all")
    assert data == {
        "wav.scp": {utt_id: f"{corpus}/wav/{utt_id}.wav" for utt_id in ("03a01Fa", "08a04Nc", "16b10Wb")},
        "text": {
            "03a01Fa": "Der Lappen liegt auf dem Eisschrank.",
            "08a04Nc": "Heute abend könnte ich es ihm sagen.",
            "16b10Wb": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
        },
        "utt2spk": {"03a01Fa": "03", "08a04Nc": "08", "16b10Wb": "16"},
        "utt2gender": {"03a01Fa": "male", "08a04Nc": "female", "16b10Wb": "female"},
        "utt2emotion": {"03a01Fa": "happy", "08a04Nc": "neutral", "16b10Wb": "angry"},
        "utt2fold": {"03a01Fa": "1", "08a04Nc": "5", "16b10Wb": "4"},
    }


def test_a_copy_that_is_not_whole_stops_and_names_the_differences(tmp_path):
    corpus = make_tree(tmp_path / "emodb", [*PUBLISHED[2:], "03a01Fz"])
    error = error_of(tmp_path / "all", "--corpus_dir", corpus)
    assert "533 of the 535" in error
    assert "2 missing (03a01Fa, 03a01Nc), 1 not in the published list (03a01Fz)" in error
    assert "--check_counts false" in error


def test_hidden_and_other_files_are_left_out(tmp_path):
    corpus = make_tree(tmp_path / "emodb", ["03a01Fa", "._03a01Fa", "17a01Fa", "notes"])
    (corpus / "wav" / "03a01Fa.txt").touch()
    result = prepare(tmp_path / "all", "--corpus_dir", corpus, "--check_counts", "false")
    assert "ignored 2 audio files not named like 03a01Fa: 17a01Fa.wav, notes.wav" in result.stdout
    assert list(read_dir(tmp_path / "all")["text"]) == ["03a01Fa"]


def test_an_utterance_in_two_formats_stops(tmp_path):
    corpus = make_tree(tmp_path / "emodb", PUBLISHED)
    (corpus / "wav" / "03a01Fa.flac").touch()
    assert "03a01Fa is there twice" in error_of(tmp_path / "all", "--corpus_dir", corpus)


def test_a_missing_corpus_is_one_line_that_says_where_to_get_it(tmp_path):
    make_tree(tmp_path / "empty", [])
    for options in (
        [],
        ["--corpus_dir", tmp_path / "nowhere"],
        ["--corpus_dir", tmp_path / "empty", "--check_counts", "false"],
    ):
        error = error_of(tmp_path / "all", *options)
        assert "03a01Fa" in error
        assert "http://emodb.bilderbar.info/" in error
        assert all(str(option) in error for option in options[1:2])


@pytest.mark.skipif("WHISPER_ER_ASSETS" not in os.environ, reason="WHISPER_ER_ASSETS names no directory of corpora")
def test_the_real_corpus_agrees_with_its_manifest(tmp_path):
    corpus = Path(os.environ["WHISPER_ER_ASSETS"]) / "corpora" / "emodb"
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "emodb" / "wav").mkdir(parents=True)
    for row in rows:
        audio = corpus / row["audio"]
        (tmp_path / "emodb" / "wav" / audio.name).symlink_to(audio)
    result = prepare(tmp_path / "all", "--corpus_dir", tmp_path / "emodb")
    assert result.returncode == 0, result.stderr
    data = read_dir(tmp_path / "all")
    names = {
        "anger": "angry",
        "boredom": "bored",
        "disgust": "disgusted",
        "fear": "fearful",
        "happiness": "happy",
        "sadness": "sad",
        "neutral": "neutral",
    }
    assert data["utt2emotion"] == {row["id"]: names[row["emotion"]] for row in rows}
    assert data["utt2gender"] == {row["id"]: row["gender"] for row in rows}
    assert data["utt2spk"] == {row["id"]: row["speaker"] for row in rows}
    assert data["text"] == {row["id"]: row["text"] for row in rows}
    assert all(Path(path).stat().st_size > 0 for path in data["wav.scp"].values())
