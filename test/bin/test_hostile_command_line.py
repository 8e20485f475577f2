"""Paths, speakers, labels, tags and options that a shell, a terminal or a file system could take for something else."""

import shutil
from pathlib import Path
from unittest import mock

import pytest
from hostile import tree
from stub_recipe import Recipe, option
from tiny_experiment import call, decode_arguments, token_list_arguments, train_arguments

from whisper_er.bin import average, decode, results, run, score, token_list, train
from whisper_er.data import kaldi

NAMES = ["a b", "$(touch marker)", "`touch marker`", "'; touch marker; '", '"quoted"', "~", "%s%n", "-rf", "--help",
         "e\u0301\u05d0\u05d1", "a\nb", "*", "\\", "a;touch marker"]  # fmt: skip


def copy_of(corpus: Path, top: Path) -> Path:
    """Data directories and configurations; wav.scp names the audio of the original."""
    return shutil.copytree(corpus, top / "corpus", ignore=shutil.ignore_patterns("wav", "whole"), symlinks=True)


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
def test_an_experiment_in_directories_of_any_name_stays_in_them(corpus, no_git, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    root = copy_of(corpus, tmp_path / name)
    for set_name in ("train", "valid", "test"):
        speaker = f"{set_name}{''.join(name.split())}"  # a word
        ids = kaldi.read_table(root / set_name / "wav.scp")
        kaldi.write_table(root / set_name / "utt2spk", dict.fromkeys(ids, speaker))
    exp = tmp_path / name / "exp" / name
    run_all(root, exp, "asr emotion")
    assert (exp / "RESULTS.md").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name] and not list(tmp_path.rglob("marker"))


def test_a_label_that_looks_like_a_command_is_a_label(corpus, no_git, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = copy_of(corpus, tmp_path)
    labels = {"sad": "$(touch${IFS}marker)", "happy": "../../`id`;e\u0301\u05d0-%s~"}
    for set_name in ("train", "valid", "test"):
        table = kaldi.read_table(root / set_name / "utt2emotion")
        kaldi.write_table(root / set_name / "utt2emotion", {key: labels[value] for key, value in table.items()})
    hyp = run_all(root, tmp_path / "exp", "emotion")
    assert set(kaldi.read_table(hyp / "utt2emotion").values()) <= set(labels.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "exp"]


@pytest.mark.parametrize("entry_point", [train, decode, average, token_list])
def test_an_unknown_or_missing_option_exits_with_2(entry_point, capfd):
    for arguments in ([], ["--no_such_option", "1"]):
        with pytest.raises(SystemExit) as exit_:
            call(entry_point, *arguments)
        assert exit_.value.code == 2
    assert "required" in capfd.readouterr().err


def test_a_gpu_that_is_not_there_is_an_error(refused):
    with mock.patch("torch.cuda.is_available", return_value=False):
        for stage in ("train", "decode"):
            refused((stage, {}, ["--ngpu", "1"], ["ngpu=1", "ngpu=0"]))


def test_an_argument_that_is_no_text_is_refused_in_one_line():
    with mock.patch("sys.argv", ["train", "--exp_dir", "a\udcffb"]), pytest.raises(SystemExit) as exit_:
        run(lambda: None)
    assert exit_.value.code == "error: the argument 'a\\udcffb' is not UTF-8; rename what it names"


# ser.sh

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
    assert f"{value} exp/{value}/foldJOB/decode_{value}/test/score/result.json" in scored
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


def test_no_log_lies_in_the_directory_that_its_command_replaces(tmp_path):
    recipe = Recipe(tmp_path / "ser1")
    calls = recipe.calls("--token_type", "bpe", SETS="train valid test")  # ready sets
    (made,) = [option(call, "--out_dir") for call in calls if call[0] == "token_list"]
    assert not list((recipe.directory / made).rglob("*.log"))
    assert list((recipe.directory / "data/token_list/log").glob("*.log"))
