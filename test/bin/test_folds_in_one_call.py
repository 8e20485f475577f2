"""--folds of an entry point: one call for several folds."""

import shutil

import pytest
from tiny_experiment import call, change

from whisper_er.base.errors import UserError
from whisper_er.bin import token_list


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def arguments(root, sets: str, out: str) -> list:
    return ["--train_set", root / sets, "--tasks", "gender emotion", "--token_type", "none", "--check_sets",
            root / sets, "--out_dir", root / out]  # fmt: skip


@pytest.fixture
def folds(corpus, tmp_path):
    """Two sets whose labels differ."""
    for name, source in (("fold1", "train"), ("fold2", "valid")):
        shutil.copytree(corpus / source, tmp_path / name)
    change(tmp_path / "fold2", "utt2emotion", valid_00="angry")
    return tmp_path


def test_a_call_for_two_folds_makes_what_a_call_for_each_makes(folds):
    for fold in (1, 2):
        call(token_list, *arguments(folds, f"fold{fold}", f"apart{fold}"))
    call(token_list, *arguments(folds, "foldJOB", "togetherJOB"), "--folds", "1 2")
    assert files_of(folds / "together1") == files_of(folds / "apart1")
    assert files_of(folds / "together2") == files_of(folds / "apart2") != files_of(folds / "apart1")


def test_folds_without_a_place_for_their_number_are_refused(folds):
    with pytest.raises(UserError, match="--folds 1 2: write JOB for the fold"):
        call(token_list, *arguments(folds, "fold1", "out"), "--folds", "1 2")
    assert not (folds / "out").exists()
