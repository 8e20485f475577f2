"""Paths, speakers, labels, tasks and tags that a shell, a terminal or a file system could take for something else."""

import os
import shutil
from pathlib import Path
from unittest import mock

import pytest
from stub_recipe import Recipe
from tiny_experiment import call, change, decode_arguments, token_list_arguments, train_arguments, write_corpus

from whisper_er.base.errors import UserError
from whisper_er.bin import average, decode, results, run, score, token_list, train
from whisper_er.data import kaldi

NAMES = ["a b", "$(touch marker)", "`touch marker`", "'; touch marker; '", '"quoted"', "~", "%s%n", "-rf", "--help",
         "e\u0301\u05d0\u05d1", "a\nb", "*", "\\", "a;touch marker"]  # fmt: skip


def tree(top: Path) -> dict[str, bytes]:
    """Every file below it with its content, links with where they point."""
    return {
        str(path.relative_to(top)): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, no_git):
    return write_corpus(tmp_path_factory.mktemp("hostile") / "corpus")


def run_all(root: Path, exp: Path, tasks: str) -> Path:
    """From the token list to the results; returns the hypothesis directory."""
    hyp = exp / "decode_x/test"
    call(token_list, *token_list_arguments(root))
    call(train, *train_arguments(root, exp, "max_steps=2"))
    call(average, "--exp_dir", exp)
    call(decode, *decode_arguments(root, exp, hyp))
    call(score, "--ref_dir", root / "test", "--hyp_dir", hyp, "--tasks", tasks, "--exp_dir", exp, "--out",
         hyp / "score/result.json")  # fmt: skip
    call(results, "--exp_dir", exp, "--test_sets", "test")
    return hyp


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_in_directories_of_any_name_stays_in_them(whole, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    top = tmp_path / name
    root = shutil.copytree(whole, top / "corpus", symlinks=True)
    for set_name in ("train", "valid", "test"):
        scp = kaldi.read_table(root / set_name / "wav.scp")
        speaker = "".join(name.split())  # a word
        change(root / set_name, "utt2spk", **dict.fromkeys([utt_id.replace("-", "_") for utt_id in scp],
                                                           f"{set_name}{speaker}"))  # fmt: skip
    exp = top / "exp" / name
    run_all(root, exp, "asr emotion")
    assert (exp / "RESULTS.md").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name] and not list(tmp_path.rglob("marker"))


def test_a_label_that_looks_like_a_command_is_a_label(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = shutil.copytree(whole, tmp_path / "corpus", symlinks=True)
    labels = {"sad": "$(touch${IFS}marker)", "happy": "../../`id`;e\u0301\u05d0-%s~"}
    for set_name in ("train", "valid", "test"):
        table = kaldi.read_table(root / set_name / "utt2emotion")
        kaldi.write_table(root / set_name / "utt2emotion", {key: labels[value] for key, value in table.items()})
    hyp = run_all(root, tmp_path / "exp", "emotion")
    assert set(kaldi.read_table(hyp / "utt2emotion").values()) <= set(labels.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "exp"]


@pytest.mark.parametrize("tasks", ["../x", "a/b", "$(touch${IFS}marker)", "-x", "a;b", "~", "%s", "e.f"])
def test_a_task_that_is_no_name_is_refused_and_nothing_is_written(whole, tmp_path, monkeypatch, tasks):
    monkeypatch.chdir(tmp_path)
    before = tree(whole)
    with pytest.raises(UserError) as caught:
        call(token_list, *token_list_arguments(whole, "--out_dir", tmp_path / "new", f"--tasks={tasks}"))
    assert str(caught.value).isprintable() and tasks in str(caught.value)
    assert list(tmp_path.iterdir()) == [] and tree(whole) == before


@pytest.mark.parametrize("label", ["a\x1b[31m", "a\u2028b", "<|endoftext|>", "\x00"])
def test_a_label_that_cannot_be_a_token_is_refused_in_one_line(whole, tmp_path, label):
    root = shutil.copytree(whole, tmp_path / "corpus", symlinks=True)
    change(root / "train", "utt2emotion", train_03=f"x{label}y")
    with pytest.raises(UserError, match="utt2emotion: the label") as caught:
        call(token_list, *token_list_arguments(root, "--out_dir", tmp_path / "new"))
    assert str(caught.value).isprintable() and not (tmp_path / "new").exists()


def test_an_argument_that_is_no_text_is_refused_in_one_line():
    with mock.patch("sys.argv", ["train", "--exp_dir", "a\udcffb"]), pytest.raises(SystemExit) as exit_:
        run(lambda: None)
    assert exit_.value.code == "error: the argument 'a\\udcffb' is not UTF-8; rename what it names"


HOSTILE = ["$(touch marker)", "`touch marker`", "'; touch marker; '", "a b", "~", "%s", "e\u0301\u05d0\u05d1", '"', "*"]


@pytest.mark.parametrize("value", HOSTILE)
def test_ser_sh_passes_every_name_on_as_it_is(tmp_path, value):
    recipe = Recipe(tmp_path / value / "ser1")
    calls = recipe.calls("--folds", "1", "--token_type", "bpe", "--lang", value, f"--expdir={value} exp",
                         "--datadir", f"{value} data", "--dumpdir", f"{value} dump", "--ser_tag", value,
                         "--inference_tag", value, "--corpus_dir", value, "--whisper_model", value)  # fmt: skip
    [trained] = [call for call in calls if call[0] == "train"]
    assert f"{value} exp/{value}/fold1" in trained and f"{value} dump/fold1/train" in trained
    [scored] = [call for call in calls if call[0] == "score"]
    assert f"{value} exp/{value}/fold1/decode_{value}/test/score/result.json" in scored
    assert not list(tmp_path.rglob("marker"))
    assert [path.name for path in tmp_path.iterdir()] == [value]
    made = {path.name for path in recipe.directory.iterdir()}
    assert made == {"bin", "conf", "local", "ser.sh", "cmd.sh", "path.sh", "utils", "calls.jsonl",
                    f"{value} exp", f"{value} data", f"{value} dump"}  # fmt: skip


@pytest.mark.parametrize("option, value", [
    *((option, "a[$(touch marker)]") for option in ("folds", "train_set", "test_sets", "score_by", "seeds", "nj")),
    *(("tasks", value) for value in ("../x", "$(touch marker)", "-x", "a\nb;")),
])  # fmt: skip
def test_ser_sh_refuses_what_names_no_task_set_or_number_in_one_line(tmp_path, option, value):
    recipe = Recipe(tmp_path / "ser1")
    before = tree(recipe.directory)
    done = recipe.run(f"--{option}={value}")
    assert done.returncode == 2 and done.stderr.startswith(f"error: --{option}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert tree(recipe.directory) == before
