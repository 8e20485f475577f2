"""Sets of two corpora become one data directory; what does not fit is one line that names it."""

from pathlib import Path

import pytest
from entry_point import error_of

from whisper_er.base.errors import UserError
from whisper_er.corpora.pooled_corpora import pool_sets, read_corpora
from whisper_er.data.kaldi import read_dir, read_table, validate, write_dir

CORPORA = """
one:
  dump: {root}/one/dump
  lang: de
  emotion: {{Wut: angry, Trauer: sad, Angst: drop, Rest: unlabelled}}
  gender: {{m: male}}
two:
  dump: {root}/two/dump
  lang: en
  emotion: {{angry: angry, sad: sad, glad: drop}}
"""
ONE = {"a": "Wut", "b": "Trauer", "c": "Angst", "d": "Rest", "e": ""}
TWO = {"a": "sad", "b": "angry"}


@pytest.fixture
def corpora(tmp_path) -> Path:
    """Two dumps: `one` has two speakers, no languages and, as a dump directory has it, paths from its recipe; `two` has
    languages and a text, and no gender."""
    one = {
        "wav.scp": {utt_id: f"dump/all/wav/{utt_id}.wav" for utt_id in ONE},
        "utt2spk": {utt_id: "s1" if utt_id < "c" else "s2" for utt_id in ONE},
        "utt2emotion": ONE,
        "utt2gender": dict.fromkeys(ONE, "m"),
        "utt2fold": {utt_id: "1" if utt_id < "c" else "2" for utt_id in ONE},
        "utt2num_samples": dict.fromkeys(ONE, "16000"),
    }
    two = {
        "wav.scp": {"a": "/elsewhere/x.ark:17", "b": "/elsewhere/b.wav"},
        "utt2spk": {"a": "s1", "b": "s1"},
        "text": {"a": "so it is", "b": ""},
        "utt2emotion": TWO,
        "utt2lang": {"a": "fr", "b": ""},
        "utt2style": {"a": "read", "b": "free"},
    }
    write_dir(tmp_path / "one/dump/all", one)
    write_dir(tmp_path / "two/dump/fold1/train", two)
    (tmp_path / "one/dump/all/wav").mkdir()
    for utt_id in ONE:
        (tmp_path / f"one/dump/all/wav/{utt_id}.wav").touch()
    (tmp_path / "one/run.sh").touch()
    file = tmp_path / "corpora.yaml"
    file.write_text(CORPORA.format(root=tmp_path))
    return file


def test_two_sets_become_one_with_common_labels_and_names(corpora, tmp_path, capsys):
    pool_sets(corpora, ["one:all", "two:fold1/train"], tmp_path / "train")
    data, root = read_dir(tmp_path / "train"), tmp_path
    validate(tmp_path / "train", data, ["asr", "emotion", "gender"])
    assert data == {
        "wav.scp": {**{f"one-{u}": f"{root}/one/dump/all/wav/{u}.wav" for u in "abde"},
                    "two-a": "/elsewhere/x.ark:17", "two-b": "/elsewhere/b.wav"},
        "utt2spk": {"one-a": "one-s1", "one-b": "one-s1", "one-d": "one-s2", "one-e": "one-s2", "two-a": "two-s1",
                    "two-b": "two-s1"},
        "text": dict.fromkeys(data["wav.scp"], "") | {"two-a": "so it is"},
        "utt2emotion": {"one-a": "angry", "one-b": "sad", "one-d": "", "one-e": "", "two-a": "sad", "two-b": "angry"},
        "utt2gender": {**{f"one-{u}": "male" for u in "abde"}, "two-a": "", "two-b": ""},
        "utt2style": {**{f"one-{u}": "" for u in "abde"}, "two-a": "read", "two-b": "free"},
        "utt2corpus": {**{f"one-{u}": "one" for u in "abde"}, "two-a": "two", "two-b": "two"},
        "utt2lang": {**{f"one-{u}": "de" for u in "abde"}, "two-a": "fr", "two-b": "en"},
    }  # fmt: skip
    assert (tmp_path / "train/.made_from").read_text() == f"{root}/one/dump/all\n{root}/two/dump/fold1/train\n"
    assert (tmp_path / "train/.about").read_text() == (
        "one:all: dropped emotion Angst 1; Wut -> angry; Trauer -> sad; Rest -> unlabelled; m -> male"
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "one:all: 4 utterances, 2 speakers; language de 4; dropped 1: emotion Angst 1; "
        "unlabelled: emotion 2, style 4, text 4"
    )
    assert said[1] == (
        "two:fold1/train: 2 utterances, 1 speakers; language en 1, fr 1; mapped, but never there: emotion glad; "
        "unlabelled: gender 2, text 1"
    )
    assert said[2].endswith("train: 6 utterances, 3 speakers; emotion: angry 2, sad 2; gender: male 4")


def test_a_set_is_filtered_by_any_of_its_tables(corpora, tmp_path):
    pool_sets(corpora, ["one:all[fold=1]", "two:fold1/train[emotion=sad]"], tmp_path / "test")
    assert list(read_table(tmp_path / "test/wav.scp")) == ["one-a", "one-b", "two-a"]
    pool_sets(corpora, ["one:all[fold!=1]", "two:fold1/train[emotion!=sad]"], tmp_path / "rest")
    assert list(read_table(tmp_path / "rest/wav.scp")) == ["one-d", "one-e", "two-b"]
    pool_sets(corpora, ["one:all[emotion=]"], tmp_path / "unlabelled")
    assert list(read_table(tmp_path / "unlabelled/wav.scp")) == ["one-e"]


def test_audio_that_counts_from_another_recipe_is_found_from_this_one(corpora, tmp_path, monkeypatch):
    here = tmp_path / "recipe"
    here.mkdir()
    monkeypatch.chdir(here)
    corpora.write_text(
        "one: {dump: ../one/dump, lang: de, emotion: {Wut: angry, Trauer: sad, Angst: sad, Rest: drop}}\n"
    )
    pool_sets(corpora, ["one:all"], Path("data"))
    assert read_table(Path("data/wav.scp"))["one-c"] == "../one/dump/all/wav/c.wav"
    ark = {utt_id: f"dump/arks/wav/audio.1.ark:{number}" for number, utt_id in enumerate(ONE)}
    write_dir(tmp_path / "one/dump/arks", read_dir(tmp_path / "one/dump/all") | {"wav.scp": ark})
    with pytest.raises(UserError, match="dump/arks/wav/audio.1.ark, which it names, is in no directory above it"):
        pool_sets(corpora, ["one:arks"], Path("arks"))
    (tmp_path / "one/dump/arks/wav").mkdir()
    (tmp_path / "one/dump/arks/wav/audio.1.ark").touch()
    pool_sets(corpora, ["one:arks"], Path("arks"))
    assert read_table(Path("arks/wav.scp"))["one-b"] == "../one/dump/arks/wav/audio.1.ark:1"


def test_an_unknown_label_is_one_line_with_its_count_and_what_is_allowed(corpora, tmp_path):
    corpora.write_text(corpora.read_text().replace("Angst: drop, ", ""))
    error = error_of("pool_corpora", "--corpora", corpora, "--sets", "one:all", "--out_dir", tmp_path / "train")
    assert f"{tmp_path}/one/dump/all/utt2emotion: emotion has no common label for Angst 1: {corpora} maps " in error
    assert "Wut Trauer Rest of one; add the label there, with a common one, drop or unlabelled" in error
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize("words, message", [
    ("one", "'one' is no set; expected corpus:set"),
    ("one:../all", "'one:../all' is no set"),
    ("three:all", "corpora.yaml has no corpus 'three'; it has one two"),
    ("one:fold1/train", r"fold1/train is not there; there is all; run stage 1 first: \S*/one/run.sh --stop"),
    ("two:all", "there is fold1/train; run stage 1 first: ./run.sh"),
    ("one:all[style=read]", r"utt2style: no such file; \[name=value\] can ask for emotion fold gender"),
    ("one:all[fold=3]", "utt2fold: no utterance has fold=3; its values are 1, 2"),
    ("one:all[emotion=Angst]", "nothing is left: dropped emotion Angst 1"),
    ("one:all one:all[fold=1]", r"one:all\[fold=1\]: \S+: duplicate id 'one-a', 'one-b'"),
    ("", "--sets names no set"),
])  # fmt: skip
def test_sets_that_are_not_there_are_one_line(corpora, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        pool_sets(corpora, words.split(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("old, new, message", [
    ("  lang: de\n", "", "one:all: 4 utterances have no language: write lang, Whisper's code, for one in .*: one-a, "),
    ("  gender: {m", "  genders: {m", "maps genders for one:all, but none of the sets has a table utt2genders"),
    ("  emotion: {Wut: angry, Trauer: sad, Angst: drop, Rest: unlabelled}\n", "",
     "maps emotion for other corpora, not for one, which has labels of its own: Angst 1, Rest 1, Trauer 1, Wut 1"),
])  # fmt: skip
def test_what_the_file_of_corpora_lacks_or_misspells_is_one_line(corpora, tmp_path, old, new, message):
    assert old in corpora.read_text()
    corpora.write_text(corpora.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        pool_sets(corpora, ["one:all"], tmp_path / "out")


def test_a_corpus_whose_labels_are_the_common_ones_needs_no_map(corpora, tmp_path):
    mapped = "  emotion: {angry: angry, sad: sad, glad: drop}\n"
    corpora.write_text(corpora.read_text().replace(mapped, ""))
    pool_sets(corpora, ["two:fold1/train"], tmp_path / "out")
    assert set(read_table(tmp_path / "out/utt2emotion").values()) == {"angry", "sad"}


def test_a_directory_that_stage_1_has_not_made_is_refused(corpora, tmp_path):
    for change in ({"segments": {"u": "a 0 1"}}, {"wav.scp": dict.fromkeys(ONE, "cat x |")}):
        write_dir(tmp_path / "one/dump/raw", read_dir(tmp_path / "one/dump/all") | change)
        with pytest.raises(UserError, match="has segments or commands"):
            pool_sets(corpora, ["one:raw"], tmp_path / "out")


@pytest.mark.parametrize("content, message", [
    ("", "not a file of corpora"),
    ("one: {lang: de}", "no 'dump'"),
    ("one: {dump: x, lang: no}", "one: lang is False, expected str; no, yes and numbers need quotes"),
    ("one: {dump: x, emotion: {no: no}}", "False, expected str"),
    ("one: {dump: x, emotion: angry}", "'emotion' is 'angry', expected a mapping"),
    ("a-b: {dump: x}", "a-b: its name may hold letters"),
    ("one: {dump: x, spk: {a: b}}", "'spk' is no task with labels"),
    ("one: {dump: x, emotion: {a: ''}}", "a common label is empty; write unlabelled or drop"),
    ("one: {dump: x, emotion: {a: very angry}}", "one: emotion: the label 'very angry' holds a space"),
    ("one: {dump: x, emotion: {a: nan}}", "what programs write for a missing value"),
    ("one: {dump: x/y}\ntwo: {dump: x/../x/y/}", "one and two have the same dump, x/../x/y; a corpus has one name"),
    ("one: {dump: x, emotion: {a: sad}}\ntwo: {dump: y, emotion: {a: Sad}}", "'Sad' and 'sad' differ in"),
])  # fmt: skip
def test_a_file_of_corpora_that_does_not_fit_is_one_line(tmp_path, content, message):
    file = tmp_path / "corpora.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        read_corpora(file)
