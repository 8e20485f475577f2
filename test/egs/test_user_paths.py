"""Paths of options count from where the user stands, and those that a recipe writes itself from its directory."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import EGS, ROOT, TEMPLATE
from stub_recipe import FOLDS, Recipe, option

from whisper_er.corpora.published_corpus import user_path

OUTPUTS = ("--datadir", "d", "--dumpdir", "d e", "--expdir=x/y")


def options(script: Path | str, cwd: Path, *words: str | Path) -> dict[str, str]:
    """The values after these words, as --help prints them."""
    command = [script, *words, "--help"]
    help_text = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^  --(\w+) .* \[(.*)\]$", help_text, re.MULTILINE))


@pytest.fixture
def recipe(tmp_path):
    recipe = Recipe(tmp_path / "a recipe" / "ser1")
    (recipe.directory / "run.sh").symlink_to(EGS / "emodb/ser1/run.sh")
    return recipe


@pytest.fixture
def user(tmp_path):
    """Where somebody stands who has a corpus, a model, and a configuration that is called like one of the recipe."""
    user = tmp_path / "some where"
    for name in ("corpus", "openai/my-model", "conf"):
        (user / name).mkdir(parents=True)
    (user / "conf/decode.yaml").touch()
    return user


def test_from_elsewhere_paths_of_the_call_are_the_users_and_those_of_the_recipe_its_own(recipe, user):
    words = ("--corpus_dir", "corpus", "--whisper_model=openai/my-model", *OUTPUTS)
    values = options(recipe.directory / "run.sh", user, *words)
    assert (values["corpus_dir"], values["whisper_model"]) == (f"{user}/corpus", f"{user}/openai/my-model")
    assert [values[name] for name in ("datadir", "dumpdir", "expdir")] == [f"{user}/{d}" for d in ("d", "d e", "x/y")]
    assert values["inference_config"] == "conf/decode.yaml"  # run.sh wrote it, for the recipe
    values = options(recipe.directory / "run.sh", user, "--inference_config", "conf/decode.yaml")
    assert values["inference_config"] == f"{user}/conf/decode.yaml"


def test_what_is_read_and_not_there_is_the_recipes_or_a_name_on_the_hub(recipe, user):
    words = ("--ser_config", "conf/train_b.yaml", "--whisper_model", "openai/whisper-base", "--corpus_dir", "none")
    values = options(recipe.directory / "run.sh", user, *words)
    assert values["ser_config"] == "conf/train_b.yaml" and values["corpus_dir"] == "none"
    assert values["whisper_model"] == "openai/whisper-base"


def test_in_the_recipes_directory_paths_stay_as_they_are_typed_and_also_by_a_link_to_it(recipe, tmp_path):
    (tmp_path / "link").symlink_to(recipe.directory)
    for directory in (recipe.directory, tmp_path / "link"):
        values = options("./run.sh", directory, *OUTPUTS, "--corpus_dir", "../c", "--whisper_model", "/m")
        assert [values[name] for name in ("datadir", "dumpdir", "expdir")] == ["d", "d e", "x/y"]
        assert (values["corpus_dir"], values["whisper_model"]) == ("../c", "/m")
    values = options(recipe.directory / "run.sh", tmp_path, "--expdir", "a recipe/ser1/exp/x")
    assert values["expdir"] == "exp/x"  # as somebody writes it there


def test_the_stages_get_these_paths(recipe, user):
    words = (*FOLDS, "--corpus_dir", "corpus", "--dumpdir", "u", "--stop_stage", "1")
    env = os.environ | {"PYTHON": sys.executable}
    subprocess.run([recipe.directory / "run.sh", *words], cwd=user, check=True, capture_output=True, env=env)
    calls = [json.loads(line) for line in (recipe.directory / "calls.jsonl").read_text().splitlines()]
    assert calls[0] == ["data", "--corpus_dir", f"{user}/corpus"]
    assert option(calls[-1], "--out_dir") == f"{user}/u" and (recipe.directory / "data").is_dir()


def test_the_words_that_are_recorded_work_in_the_recipes_directory(user, tmp_path):
    script = tmp_path / "script.sh"
    block = ["## options", "exp=a  # path to write: x", "text=a  # not a path to write", "## end of options"]
    source = f". '{TEMPLATE}/utils/parse_options.sh'"
    lines = ["set -u", *block, source, 'parse_options "$@"', 'printf "%s\\n" "${parsed[@]}"']
    script.write_text("\n".join(lines))
    words = ["--exp=own", "--paths_from", user, "--exp=b", "--exp", "c d", "--text", "corpus"]
    done = subprocess.run(["bash", script, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "--exp=own",
        "--exp=some where/b",
        "--exp",
        "some where/c d",
        "--text",
        "corpus",
    ]


@pytest.mark.parametrize(
    "script, given, name",
    [
        ("emodb/ser1/systems.sh", "--corpus_dir", "corpus_dir"),
        ("iemocap/ser1/paper.sh", "--iemocap", "iemocap"),
        ("iemocap/ser1/run.sh", "--iemocap", "corpus_dir"),
        ("../tools/benchmark/padding.sh", "--emodb", "emodb"),
    ],
)
def test_the_other_scripts_do_so_too(script, given, name, user):
    values = options(EGS / script, user, given, "corpus")
    assert values[name] == f"{user}/corpus"


def test_a_preset_leaves_the_users_own_configuration_alone(user):
    (user / "conf/train_stl.yaml").touch()
    run = EGS / "iemocap/ser1/run.sh"
    words = ("--preset", "paper_espnet", "--ser_config", "conf/train_stl.yaml")
    values = options(run, user, *words)
    assert values["ser_config"] == f"{user}/conf/train_stl.yaml"
    assert values["inference_config"] == "conf/paper_espnet/decode.yaml"
    assert options(run, ROOT, *words)["ser_config"] == "conf/paper_espnet/train_stl.yaml"


def test_preparation_finds_files_of_its_options_where_the_user_stands(user, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids").touch()
    monkeypatch.setenv("paths_from", str(user))
    assert user_path("corpus") == user / "corpus"
    assert (user_path("ids"), user_path("/ids")) == (Path("ids"), Path("/ids"))
    monkeypatch.chdir(user)
    assert user_path("corpus") == Path("corpus")
