"""egs/across_corpora: two small corpora, prepared by recipes of their own, become training and test sets of one."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recipe_copy import copy_recipes, run_script
from repository import EGS

from whisper_er.corpora.format_audio import format_data
from whisper_er.corpora.pooled_corpora import read_corpora
from whisper_er.data.kaldi import read_dir, read_table, write_dir, write_table
from whisper_er.text.token_list import read_token_list

RECIPE = EGS / "across_corpora/ser1"
CORPORA = """
one: {dump: ../../one/ser1/dump, lang: de, emotion: {Wut: angry, Trauer: sad, Angst: drop}}
two: {dump: ../../two/ser1/dump, lang: en, emotion: {angry: angry, sad: sad}}
"""
SETS = ("--train_sets", "one:all[fold=1] two:all[fold=1]", "--valid_sets", "one:all[fold=2]", "--test_on",
        "one:all[fold=3]+two:all[fold=3]")  # fmt: skip
OPTIONS = (*SETS, "--tasks", "gender emotion", "--token_type", "none", "--nj", "1", "--stop_stage")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, warm_python) -> Path:
    """The recipe in a copy of the recipes, where stage 1 of two others has run: `one` was converted."""
    egs = copy_recipes(tmp_path_factory.mktemp("with space"), warm_python)
    for name, rate, emotions in (("one", 22050, ("Wut", "Trauer", "Angst")), ("two", 16000, ("angry", "sad"))):
        prepare(egs / name / "ser1", rate, emotions)
    (egs / "across_corpora/ser1/conf/corpora.yaml").write_text(CORPORA)
    return egs / "across_corpora/ser1"


def prepare(recipe: Path, rate: int, emotions: tuple[str, ...]) -> None:
    """recipe/dump/all: three folds of a speaker each, who says every emotion once."""
    (recipe / "wav").mkdir(parents=True)
    emotion_of = {f"s{fold}{emotion}": emotion for fold in (1, 2, 3) for emotion in emotions}
    for seed, utt_id in enumerate(emotion_of):
        noise = np.random.default_rng(seed).normal(0, 0.1, rate // 4)
        soundfile.write(recipe / f"wav/{utt_id}.wav", noise, rate, subtype="PCM_16")
    data = {
        "wav.scp": {utt_id: f"wav/{utt_id}.wav" for utt_id in emotion_of},
        "utt2spk": {utt_id: utt_id[:2] for utt_id in emotion_of},
        "utt2gender": dict.fromkeys(emotion_of, "female"),
        "utt2emotion": emotion_of,
        "utt2fold": {utt_id: utt_id[1] for utt_id in emotion_of},
    }
    write_dir(recipe / "data/all", data)
    here = Path.cwd()
    os.chdir(recipe)  # as ser.sh does, so that its paths count from there
    format_data(Path("data/all"), Path("dump/all"))
    os.chdir(here)


def test_sets_of_two_corpora_go_through_stages_1_and_2_and_are_made_anew_when_one_of_them_changes(recipe):
    run_script(recipe / "run.sh", *OPTIONS, "2")
    combination = "one_all_fold=1_two_all_fold=1"
    dump = recipe / "dump" / combination
    sets = {path.parent.name: read_dir(path.parent) for path in dump.glob("*/wav.scp")}
    assert {name: sorted(data["wav.scp"]) for name, data in sets.items()} == {
        "train": ["one-s1Trauer", "one-s1Wut", "two-s1angry", "two-s1sad"],
        "valid": ["one-s2Trauer", "one-s2Wut"],
        "test_one_all_fold_3_two_all_fold_3": ["one-s3Trauer", "one-s3Wut", "two-s3angry", "two-s3sad"],
    }
    train = sets["train"]
    assert list(train["utt2lang"].values()) == ["de", "de", "en", "en"]
    assert list(train["utt2corpus"].values()) == ["one", "one", "two", "two"]
    assert train["wav.scp"]["one-s1Wut"] == "../../one/ser1/dump/all/wav/s1Wut.wav"
    assert train["wav.scp"]["two-s1sad"] == "../../two/ser1/wav/s1sad.wav"
    assert set(train["utt2num_samples"].values()) == {"4000"}
    assert "4 kept as they are, 0 written" in (dump / "log/train.log").read_text()
    assert "dropped 1: emotion Angst 1" in (dump / "log/data.log").read_text()
    said = "dropped emotion Angst 1; Wut -> angry; Trauer -> sad"
    assert (dump / "train/.about").read_text() == f"one:all[fold=1]: {said}"
    (token_list,) = (recipe / "data" / combination / "token_list").glob("none_*")
    assert {task.name: task.labels for task in read_token_list(token_list).tasks}["emotion"] == ("angry", "sad")

    assert "data prep" not in run_script(recipe / "run.sh", *OPTIONS, "1")
    labels = recipe.parents[1] / "two/ser1/dump/all/utt2emotion"
    write_table(labels, read_table(labels) | {"s1sad": "angry"})
    assert "data prep: local/data.sh" in run_script(recipe / "run.sh", *OPTIONS, "1")
    assert read_table(dump / "train/utt2emotion")["two-s1sad"] == "angry"

    (recipe / "exp" / combination).mkdir(parents=True)
    other = ("--name", combination, *SETS[:3], "two:all[fold=2]", *OPTIONS[4:], "1")
    done = subprocess.run([recipe / "run.sh", *other], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "was trained on other sets" in done.stderr and "another --name" in done.stderr
    more = (*SETS[:5], "two:all[fold!=1] two:all[fold=3]", *OPTIONS[6:], "1", "--allow_shared_speakers", "true")
    run_script(recipe / "run.sh", *more)
    assert len(read_table(recipe / "data" / combination / "test_two_all_fold-not-1/utt2spk")) == 4


def test_audio_that_two_recipes_have_is_not_in_two_sets(recipe):
    write_dir(recipe.parents[1] / "three/ser1/dump/all", read_dir(recipe.parents[1] / "two/ser1/dump/all"))
    (recipe.parents[1] / "three/ser1/wav").symlink_to(recipe.parents[1] / "two/ser1/wav")
    (recipe / "conf/three.yaml").write_text(CORPORA + CORPORA.splitlines()[2].replace("two", "three") + "\n")
    sets = ("--train_sets", "two:all[fold=1]", "--valid_sets", "two:all[fold=2]", "--test_on", "three:all[fold=1]")
    options = (*sets, *OPTIONS[6:], "1", "--corpora", "conf/three.yaml", "--allow_shared_speakers", "true")
    done = subprocess.run([recipe / "run.sh", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "share 2 recordings" in done.stderr and "one corpus under two names?" in done.stderr


def test_a_label_that_the_file_lacks_stops_stage_1_in_one_line(recipe):
    (recipe / "conf/other.yaml").write_text(CORPORA.replace(", Angst: drop", ""))
    options = (*OPTIONS, "1", "--corpora", "conf/other.yaml", "--name", "other")
    done = subprocess.run([recipe / "run.sh", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: ../../one/ser1/dump/all/utt2emotion: emotion has no common label for Angst 1" in done.stderr


@pytest.mark.parametrize("options, message", [
    ((), "--train_sets is missing"),
    (SETS[:4], "--test_on is missing"),
    ((*SETS, "--name", "a/b"), "the combination would be called 'a/b'; give it a --name"),
    ((*SETS[:4], "--test_on", "one:a/b one:a_b"), "two test sets would be called test_one_a_b"),
    ((*SETS, "--test_sets", "x"), "--test_sets: here it is --test_on"),
    ((*SETS, "--valid_set=x"), "--valid_set: here it is --valid_sets"),
    ((*SETS, "--folds", "1 2"), "--folds: here a fold is a part of a set's name"),
    ((*SETS, "--corpus_dir", "x"), "--local_data_opts and --corpus_dir: what local/data.sh needs has options"),
])  # fmt: skip
def test_options_that_do_not_fit_are_one_line(options, message):
    done = subprocess.run([RECIPE / "run.sh", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_file_of_the_recipe_maps_every_label_that_the_other_recipes_write(monkeypatch):
    written = {}
    for name, table in (("emodb", "EMOTIONS"), ("ravdess", "EMOTIONS"), ("iemocap", "LABEL_SETS")):
        monkeypatch.syspath_prepend(EGS / name / "ser1/local")
        value = getattr(__import__(f"prepare_{name}"), table)
        tables = value.values() if name == "iemocap" else [value]
        written[name] = {label for one in tables for label in one.values()}
    corpora = read_corpora(RECIPE / "conf/corpora.yaml")
    assert {name: set(corpora[name].labels["emotion"]) for name in written} == written
    common = [set(corpus.labels["emotion"].values()) - {"drop"} for corpus in corpora.values()]
    assert all(labels == {"angry", "happy", "neutral", "sad"} for labels in common)
