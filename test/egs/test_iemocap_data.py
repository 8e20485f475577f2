"""egs/iemocap: the release's files, counts and quirks, on a stand-in of the full size."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile
import yaml
from repository import EGS

from whisper_er.base.errors import UserError
from whisper_er.corpora.folds import make_folds
from whisper_er.data.kaldi import read_dir, validate
from whisper_er.data.votes import parse_votes

LOCAL = EGS / "iemocap/ser1/local"
sys.path.insert(0, str(LOCAL))
import prepare_iemocap  # noqa: E402
import published  # noqa: E402
import release as reader  # noqa: E402

# As published: ang, hap, exc, neu, sad, utterances of a woman, of a man
SESSIONS = {
    "1": (229, 135, 143, 384, 194, 528, 557),
    "2": (137, 117, 210, 362, 197, 481, 542),
    "3": (240, 135, 151, 320, 305, 522, 629),
    "4": (327, 65, 238, 258, 143, 528, 503),
    "5": (170, 143, 299, 384, 245, 590, 651),
}
TABLES = {
    "text",
    "utt2arousal",
    "utt2dominance",
    "utt2emotion",
    "utt2emotion_votes",
    "utt2fold",
    "utt2gender",
    "utt2prev",
    "utt2spk",
    "utt2style",
    "utt2valence",
    "wav.scp",
}


def call(script: str, *options: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, LOCAL / script, *options], capture_output=True, text=True, check=False)


def prepare(corpus: Path, out_dir: Path, *options: str | Path) -> subprocess.CompletedProcess:
    return call("prepare_iemocap.py", "--corpus_dir", corpus, "--out_dir", out_dir, *options)


def prepared(corpus: Path, out_dir: Path, *options: str | Path) -> dict:
    done = prepare(corpus, out_dir, "--id_list", corpus / "standin_ids.txt", *options)
    assert done.returncode == 0, done.stderr
    return read_dir(out_dir)


def error_of(corpus: Path, out_dir: Path, *options: str | Path) -> str:
    """The one line of a run that must fail and leave no data directory."""
    done = prepare(corpus, out_dir, *options)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done
    assert not out_dir.exists()
    return done.stderr


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("iemocap") / "stand in"
    done = call("make_standin.py", "--out_dir", root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def four(full) -> dict:
    return prepared(full, full.parent / "four" / "all")


@pytest.fixture
def small(tmp_path) -> Path:
    root = tmp_path / "small"
    assert call("make_standin.py", "--out_dir", root, "--per_cell", "1").returncode == 0
    return root


def test_every_published_count_is_met(four, full):
    assert set(four) == TABLES
    validate(full, four, ["asr", "gender", "emotion"])
    assert all(len(table) == 5531 for table in four.values())
    assert Counter(four["utt2emotion"].values()) == {"neutral": 1708, "happy": 1636, "sad": 1084, "angry": 1103}
    assert Counter(four["utt2style"].values()) == {"improvised": 2943, "scripted": 2588}
    assert sum(not text for text in four["text"].values()) == 31
    for session, (ang, hap, exc, neu, sad, female, male) in SESSIONS.items():
        own = [utt_id for utt_id, fold in four["utt2fold"].items() if fold == session]
        assert Counter(four["utt2emotion"][utt_id] for utt_id in own) == {
            "angry": ang,
            "happy": hap + exc,
            "neutral": neu,
            "sad": sad,
        }
        assert Counter(four["utt2gender"][utt_id] for utt_id in own) == {"female": female, "male": male}
        assert {four["utt2spk"][utt_id] for utt_id in own} == {f"Ses0{session}F", f"Ses0{session}M"}


def test_the_release_as_a_whole(full):
    found = reader.read_release(full)
    assert found.num_dialogs == 151
    assert Counter(one.session for one in found.rated.values()) == {
        "1": 1819,
        "2": 1811,
        "3": 2136,
        "4": 2103,
        "5": 2170,
    }
    assert Counter(one.label for one in found.rated.values()) == {
        "xxx": 2507,
        "fru": 1849,
        "neu": 1708,
        "ang": 1103,
        "sad": 1084,
        "exc": 1041,
        "hap": 595,
        "sur": 107,
        "fea": 40,
        "oth": 3,
        "dis": 2,
    }
    assert found.texts.keys() == found.wavs.keys() == found.rated.keys()
    seconds = {utt_id: soundfile.info(path).duration for utt_id, path in found.wavs.items()}
    assert sorted(utt_id for utt_id, length in seconds.items() if length > 30) == [
        "Ses05M_script02_1_M030",
        "Ses05M_script02_2_F013",
    ]


def test_the_stand_in_has_the_releases_quirks(full):
    """What preparation must step over is really there."""
    texts = [path.read_bytes() for path in full.glob("Session*/dialog/transcriptions/Ses*.txt")]
    lines = b"".join(texts).decode().splitlines()
    assert sum(bool(re.match(r"Ses\w+_[FM]XX\d ", line)) for line in lines) == 48
    assert sum(bool(re.match(r"[FM] ?: ", line)) for line in lines) == 152
    assert sum(bool(re.match(r"[FM] : ", line)) for line in lines) == 1
    assert 0 < sum(b"\r\n" in text for text in texts) < len(texts)
    assert len(list(full.glob("Session*/dialog/EmoEvaluation/._*.txt"))) == 151
    assert list(full.glob("Session*/sentences/wav/*/._*.wav")) and list(full.glob("Session*/dialog/*/.DS_Store"))
    assert {path.parent.name for path in full.glob("Session1/dialog/EmoEvaluation/*/*.txt")} == {
        "Categorical",
        "Attribute",
        "Self-evaluation",
    }
    dialogs = {path.stem for path in full.glob("Session*/dialog/EmoEvaluation/Ses*.txt")}
    assert dialogs >= {"Ses03M_impro05a", "Ses03M_impro05b", "Ses03M_impro08a", "Ses03M_impro08b", "Ses05M_script01_1b"}


def test_the_speaker_is_who_speaks_not_who_wears_the_markers(four):
    assert all(speaker == f"{utt_id[:5]}{utt_id.rsplit('_', 1)[1][0]}" for utt_id, speaker in four["utt2spk"].items())
    others = [utt_id for utt_id, speaker in four["utt2spk"].items() if utt_id[:6] != speaker]
    assert len(others) > 1000
    odd = {utt_id.rsplit("_", 1)[0] for utt_id in four["utt2spk"]}
    assert odd >= {"Ses03M_impro05a", "Ses03M_impro08b", "Ses05M_script01_1b"}
    assert {four["utt2gender"][utt_id] for utt_id in four["utt2spk"] if utt_id.startswith("Ses05M_script01_1b_F")} == {
        "female"
    }


def test_session_k_tests_the_next_one_validates_and_no_speaker_is_on_two_sides(full, tmp_path):
    prepared(full, tmp_path / "all")
    make_folds(tmp_path / "all", tmp_path, ["1", "2", "3", "4", "5"])
    for fold in range(1, 6):
        sets = {name: read_dir(tmp_path / f"fold{fold}" / name) for name in ("train", "valid", "test")}
        sessions = {name: set(data["utt2fold"].values()) for name, data in sets.items()}
        assert (sessions["test"], sessions["valid"]) == ({str(fold)}, {str(fold % 5 + 1)})
        assert not sessions["train"] & (sessions["test"] | sessions["valid"]) and len(sessions["train"]) == 3
        assert sum(len(data["utt2spk"]) for data in sets.values()) == 5531


@pytest.mark.parametrize("label_set, size, labels", [
    ("four_no_exc", 4490, {"angry": 1103, "happy": 595, "neutral": 1708, "sad": 1084}),
    ("five", 7380, {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084, "frustrated": 1849}),
    ("six", 7380, {"angry": 1103, "happy": 595, "excited": 1041, "neutral": 1708, "sad": 1084, "frustrated": 1849}),
])  # fmt: skip
def test_other_label_sets(full, tmp_path, label_set, size, labels):
    data = prepared(full, tmp_path / "all", "--label_set", label_set)
    assert len(data["utt2spk"]) == size and Counter(data["utt2emotion"].values()) == labels


def test_what_has_no_majority_is_kept_with_its_votes_when_asked(full, tmp_path):
    data = prepared(full, tmp_path / "all", "--keep_no_majority", "true")
    split = {utt_id for utt_id, label in data["utt2emotion"].items() if not label}
    assert len(data["utt2spk"]) == 5531 + len(split) and 2000 < len(split) <= 2507
    for utt_id in split:
        assert parse_votes(data["utt2emotion_votes"][utt_id]).keys() & {"angry", "happy", "neutral", "sad"}


def test_votes_for_excited_are_for_happy_where_the_label_is():
    votes = Counter({"hap": 1, "exc": 2, "fru": 1})
    one = reader.Rated("Ses01F_impro01_F000", "exc", "1", "1", "1", votes)
    assert prepare_iemocap.votes_of(one, prepare_iemocap.LABEL_SETS["four"]) == {"happy": 3, "fru": 1}
    six = {"happy": 1, "excited": 2, "frustrated": 1}
    assert prepare_iemocap.votes_of(one, prepare_iemocap.LABEL_SETS["six"]) == six


def test_the_turn_before_is_the_last_that_starts_before_of_either_speaker_in_the_dialog():
    starts = {"Ses01F_a_F000": 9.5, "Ses01F_a_F001": 30.0, "Ses01F_a_M000": 10.5, "Ses01F_b_M000": 20.0}
    rated = [reader.Rated(utt_id, "neu", "1", "1", "1", Counter(), start) for utt_id, start in starts.items()]
    assert prepare_iemocap.turns_before(rated) == {
        "Ses01F_a_F000": "",
        "Ses01F_a_M000": "Ses01F_a_F000",
        "Ses01F_a_F001": "Ses01F_a_M000",
        "Ses01F_b_M000": "",
    }


def test_dialogs_lie_within_a_session_and_lead_through_all_of_its_utterances(four):
    before, fold = {utt_id: one for utt_id, one in four["utt2prev"].items() if one}, four["utt2fold"]
    assert len(before) == len(set(before.values())) and len(fold) - len(before) == 151
    assert all(fold[utt_id] == fold[one] for utt_id, one in before.items())


def test_improvised_only(full, tmp_path):
    data = prepared(full, tmp_path / "all", "--style", "improvised")
    assert len(data["utt2spk"]) == 2943 and all("_impro" in utt_id for utt_id in data["utt2spk"])


RATED = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 3.0000, 4.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Sadness;\t()
C-E4:\tNeutral state;\t()
C-F1:\tAnger;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\txxx\t[2.0000, 2.5000, 3.0000]
C-E2:\tOther;\t(confusion)
C-E4:\tFrustration; Anger; \t()
C-M1:\tSurprise;\t()
"""


def test_ratings_and_votes_are_those_of_the_evaluators(tmp_path):
    (tmp_path / "dialog.txt").write_bytes(RATED.replace("\n", "\r\n").encode())
    first, second = reader.read_ratings(tmp_path / "dialog.txt")
    assert (first.valence, first.arousal, first.dominance) == ("2.5000", "3.0000", "4.5000")
    assert first.votes == {"neu": 3, "sad": 1} and second.votes == {"oth": 1, "fru": 1, "ang": 1}
    assert (second.utt_id, second.label, second.speaker) == ("Ses01F_impro01_M001", "xxx", "Ses01M")


def test_votes_and_ratings_reach_the_tables(four):
    words = re.compile(r"(angry|happy|neutral|sad|fru):\d")
    for utt_id, votes in four["utt2emotion_votes"].items():
        counts = parse_votes(votes)
        assert all(map(words.fullmatch, votes.split())) and sum(counts.values()) == 3
        assert max(counts, key=counts.get) == four["utt2emotion"][utt_id]  # 2 of 3 are for the label
    for name in ("utt2valence", "utt2arousal", "utt2dominance"):
        assert all(1 <= float(value) <= 5 for value in four[name].values())


@pytest.mark.parametrize("options, expected", [
    (("drop", "keep", "keep"), "Well, I can't  no.".replace("  ", " ")),
    (("keep", "keep", "keep"), "Well, [LAUGHTER] I can't no."),
    (("drop", "lower", "keep"), "well, i can't no."),
    (("drop", "lower", "drop"), "well i can't no"),
    (("keep", "keep", "drop"), "Well [LAUGHTER] I can't no"),
])  # fmt: skip
def test_transcripts_are_cleaned_as_asked(options, expected):
    assert prepare_iemocap.clean("Well, [LAUGHTER] I can't  no. ", *options) == expected


@pytest.mark.parametrize("text, expected", [
    ("Really good.", "Really good ."),  # the paper's example
    ("Well, I don't know...", "Well , I don't know ..."),
    ("What?! It's 10:30, half-way--no.", "What ?! It's 10:30 , half-way -- no ."),
    ('"Hello," [LAUGHTER]. goin\'.', "\" Hello ,\" [LAUGHTER] . goin' ."),
])  # fmt: skip
def test_split_punctuation_stands_apart_from_words(text, expected):
    assert prepare_iemocap.clean(text, "keep", "keep", "split") == expected
    assert prepare_iemocap.clean(expected, "keep", "keep", "split") == expected


@pytest.mark.parametrize("text", ["[LAUGHTER]", "[GARBAGE] ...", "[BREATHING].", " "])
def test_a_transcript_without_a_word_is_empty(text):
    assert prepare_iemocap.clean(text, "drop", "keep", "keep") == ""


def test_another_corpus_is_refused_and_the_differing_ids_are_named(full, tmp_path):
    assert "by their sha256" in error_of(full, tmp_path / "all")  # invented ids are not the published ones
    ids = (full / "standin_ids.txt").read_text().splitlines()
    changed = tmp_path / "ids.txt"
    gone, relabelled = ids[0].split()[0], ids[1].split()[0]
    changed.write_text("\n".join([f"{relabelled} {'sad' if 'ang' in ids[1] else 'ang'}", *ids[2:]]) + "\n")
    message = error_of(full, tmp_path / "all", "--id_list", changed)
    assert f"2 ids differ from {changed}" in message and f"{gone} " in message and f"{relabelled} " in message
    assert len((tmp_path / "iemocap_differences.txt").read_text().splitlines()) == 2


def test_a_list_of_emobox_is_read_as_it_is(full, tmp_path):
    labels = dict(line.split() for line in (full / "standin_ids.txt").read_text().splitlines())
    lines = [json.dumps({"key": f"iemocap-{utt_id}", "wav": "x.wav", "emo": raw}) for utt_id, raw in labels.items()]
    listed = tmp_path / "iemocap.jsonl"
    listed.write_text("\n".join(lines) + "\n")
    assert published.listed_differences(labels, listed, tmp_path / "all") == []
    last = list(labels)[-1]
    other = "sad" if labels[last] == "ang" else "ang"
    listed.write_text("\n".join(lines[:-1] + [json.dumps({"key": f"iemocap-{last}", "emo": other})]) + "\n")
    found = published.listed_differences(labels, listed, tmp_path / "all")
    assert found == [
        f"1 ids differ from {listed}: {last} {labels[last]}, listed {other} (all: {tmp_path}/iemocap_differences.txt)"
    ]


@pytest.mark.parametrize("text, message", [
    ('{"key": "iemocap-a"}\n', "not a list of EmoBox (item 1 of the content has no 'emo')"),
    ("a ang\n", "not a list of EmoBox"),
    ('{"key": "iemocap-a", "emo": "ang"}\n' * 2, "1 keys are listed twice"),
])  # fmt: skip
def test_a_list_that_is_not_emobox_is_one_line(tmp_path, text, message):
    (tmp_path / "ids.jsonl").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        published.read_id_list(tmp_path / "ids.jsonl")
    assert str(tmp_path / "ids.jsonl") in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.skipif("WHISPER_ER_ASSETS" not in os.environ, reason="WHISPER_ER_ASSETS names no directory with EmoBox")
def test_the_list_of_emobox_is_the_published_one():
    listed = published.read_id_list(Path(os.environ["WHISPER_ER_ASSETS"], "emobox/data/iemocap/iemocap.jsonl"))
    wanted = yaml.safe_load((LOCAL / "published.yaml").read_text())
    assert len(listed) == 5531 and published.digest_differences(listed, wanted) == []


def test_digests_are_of_sorted_lines_that_end_in_a_line_feed():
    digests = {
        "sha256_ids": hashlib.sha256(b"a\nb\n").hexdigest(),
        "sha256_labels": hashlib.sha256(b"a ang\nb sad\n").hexdigest(),
    }
    assert published.digest_differences({"b": "sad", "a": "ang"}, digests) == []
    assert "the labels of" in published.digest_differences({"b": "ang", "a": "ang"}, digests)[0]
    assert "the ids of" in published.digest_differences({"c": "sad", "a": "ang"}, digests)[0]


def test_a_small_copy_is_refused_and_taken_when_told_to(small, tmp_path):
    message = error_of(small, tmp_path / "all")
    assert "session 1: utterances" in message and "--check_counts false" in message
    done = prepare(small, tmp_path / "all", "--check_counts", "false")
    assert done.returncode == 0 and "published 1819" in done.stdout
    assert len(read_dir(tmp_path / "all")["text"]) == len((small / "standin_ids.txt").read_text().splitlines())


def test_what_one_part_of_the_release_lacks_is_named(small, tmp_path):
    wav = next(small.glob("Session3/sentences/wav/*/Ses03*.wav"))
    wav.unlink()
    assert f"1 rated utterances without a wav: {wav.stem}" in error_of(small, tmp_path / "all")


def test_a_line_that_is_no_rating_is_named(small, tmp_path):
    path = next(small.glob("Session2/dialog/EmoEvaluation/Ses02*.txt"))
    path.write_text(path.read_text().replace("]\tSes", "] Ses"))
    assert f"{path}: line " in error_of(small, tmp_path / "all")


def test_a_missing_corpus_or_option_is_one_line(tmp_path):
    assert "no such directory; --corpus_dir is IEMOCAP_full_release" in error_of(tmp_path, tmp_path / "all")
    done = call("prepare_iemocap.py", "--out_dir", tmp_path / "all")
    assert done.returncode == 1 and "--corpus_dir is missing (run.sh --iemocap)" in done.stderr


def test_the_directory_above_the_release_is_accepted(small, tmp_path):
    above = tmp_path / "corpora"
    above.mkdir()
    small.rename(above / "IEMOCAP_full_release")
    assert prepare(above, tmp_path / "all", "--check_counts", "false").returncode == 0


def test_the_stand_in_is_the_same_each_time_and_replaces_only_itself(small, tmp_path):
    before = {path.relative_to(small): path.read_bytes() for path in small.rglob("*") if path.is_file()}
    assert call("make_standin.py", "--out_dir", small, "--per_cell", "1").returncode == 0
    assert before == {path.relative_to(small): path.read_bytes() for path in small.rglob("*") if path.is_file()}
    (tmp_path / "mine").mkdir()
    done = call("make_standin.py", "--out_dir", tmp_path / "mine")
    assert done.returncode == 1 and "exists and is no stand-in" in done.stderr
