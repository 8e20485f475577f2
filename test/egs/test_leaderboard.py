"""leaderboard.sh of egs/emobox: results that are made up become its table; corpora are run, listed and left out."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from launched import LAUNCH
from recipe_copy import copy_recipes, run_script
from repository import EGS
from small_results import ABOUT, EMOTION, pairs_of

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.config import TrainConfig
from whisper_er.score.scoring import score_pairs, write_score

RECIPE = EGS / "emobox/ser1"
sys.path.append(str(RECIPE / "local"))
from published_figures import read_published  # noqa: E402

HALF = [("angry", "angry"), ("happy", "happy"), ("sad", "sad"), ("sad", "happy")]  # UA 5/6, WA 3/4, F1 7/9
RIGHT = [("angry", "angry"), ("happy", "happy"), ("sad", "sad")]
HEADER = "corpus,system,ua,wa,f1,source\n"


@pytest.fixture
def recipe(tmp_path) -> Path:
    """Corpora of two folds and of one, and one without audio; each fold has a list of four to test, even's second of
    three."""
    recipe = copy_recipes(tmp_path / "a clone") / "emobox/ser1"
    for corpus, folds in (("even", 2), ("odd", 1), ("silent", 1)):
        for fold in range(1, folds + 1):
            path = tmp_path / f"EmoBox/data/{corpus}/fold_{fold}/{corpus}_test_fold_{fold}.jsonl"
            path.parent.mkdir(parents=True)
            lines = (f'{{"key": "{n}", "wav": "{n}.wav", "emo": "sad", "length": 1}}\n' for n in range(5 - fold))
            path.write_text("".join(lines))
        (tmp_path / f"EmoBox/data/{corpus}/label_map.json").write_text("{}")
    for corpus in ("even", "odd"):
        (tmp_path / "audio" / corpus).mkdir(parents=True)
    return recipe


def leaderboard(recipe: Path, *options: str) -> subprocess.CompletedProcess:
    root = recipe.parents[3]
    command = [recipe / "leaderboard.sh", "--emobox", "EmoBox", "--downloads", "audio", "--whisper_model", "m/base"]
    return subprocess.run([*command, *options], cwd=root, capture_output=True, text=True, check=False)


def write_fold(exp_dir: Path, fold: int, answers: list[tuple[str, str]], accuracy: float, shared: int = 0) -> None:
    """What training and scoring leave, as far as the table reads it."""
    pairs = pairs_of([(ref, hyp, 0.9) for ref, hyp in answers])
    protocol = f"trained on 9; tested on {len(answers)} utterances of 2 speakers, {shared} of them in training, 0 in"
    about = ABOUT | {"protocol": protocol}
    content = about | score_pairs([EMOTION], pairs).to_json()
    write_score(exp_dir / f"fold{fold}/decode_default/test/score/result.json", content, pairs)
    best = {"finished": "max_steps", "metric": "accuracy", "n_best": 1}
    best["best"] = [{"step": 1, "accuracy": accuracy, "loss": 1.0}]
    (exp_dir / f"fold{fold}/checkpoints").mkdir()
    (exp_dir / f"fold{fold}/checkpoints/best.json").write_text(json.dumps(best))


def tables(path: Path) -> list[list[list[str]]]:
    """Cells of each table of a Markdown file, without its rule."""
    blocks = [block.splitlines() for block in path.read_text(encoding="utf-8").split("\n\n") if block.startswith("|")]
    cells = [[[cell.strip() for cell in line.split("|")[1:-1]] for line in block] for block in blocks]
    return [[block[0], *block[2:]] for block in cells]


def test_the_table_has_the_mean_over_folds_beside_published_figures(recipe):
    exp = recipe / "exp"
    write_fold(exp / "even/conventional_base", 1, HALF, 0.8)
    write_fold(exp / "even/conventional_base", 2, RIGHT, 0.9, shared=2)
    write_fold(exp / "even/stl_ser_base", 2, RIGHT, 0.7)
    write_fold(exp / "odd/conventional_base", 1, HALF, 0.5)
    write_fold(exp / "odd/stl_ser_base", 1, [*RIGHT, ("sad", "sad")], 0.6)
    (recipe.parents[3] / "mine.csv").write_text(HEADER + '"even","A, frozen",,71.50,,a paper\nravdess,B,1,2,3,b\n')
    options = ("--systems", "conventional stl_ser", "--report_only", "true", "--published", "mine.csv")
    done = leaderboard(recipe, *options)
    assert done.returncode == 0, done.stderr
    assert "3 of 4 systems on 2 corpora are scored, beside 1 of 2 published rows" in done.stdout
    board, average = tables(exp / "leaderboard/LEADERBOARD.md")
    half, right = ["83.3", "75.0", "77.8"], ["100.0", "100.0", "100.0"]
    both = ["91.7 ± 11.8", "87.5 ± 17.7", "88.9 ± 15.7"]  # of two values the deviation is their distance by root 2
    assert board[1:] == [
        ["even", "conventional", *both, "2 of 2", "7 of 7", "2 of 2", "85.0", "here"],
        ["even", "STL SER", *right, "1 of 2", "3 of 3", "0 of 2", "70.0", "here"],
        ["even", "A, frozen", "–", "71.50", "–", "–", "–", "–", "–", "published: a paper"],
        ["odd", "conventional", *half, "1 of 1", "4 of 4", "0 of 2", "50.0", "here"],
        ["odd", "STL SER", *right, "1 of 1", "4 of 4", "0 of 2", "60.0", "here"],
    ]
    assert average[1:] == [["conventional", *half], ["STL SER", *right]]  # of odd alone: a fold of even is missing
    text = (exp / "leaderboard/LEADERBOARD.md").read_text(encoding="utf-8")
    assert "1 of 2 corpora" in text and "all folds: odd." in text and "- even, STL SER: fold 1" in text
    assert "without audio: silent." in text
    rows = list(csv.DictReader((exp / "leaderboard/leaderboard.csv").open(encoding="utf-8")))
    assert [row["kind"] for row in rows] == ["run", "run", "published", "run", "run", "average", "average"]
    assert [rows[0][name] for name in ("ua", "ua_sd", "f1", "f1_sd", "folds", "all_folds", "speakers_in_training")] == [
        "91.7", "11.8", "88.9", "15.7", "2", "2", "2"
    ]  # fmt: skip
    assert rows[2]["wa"] == "71.50" and rows[2]["ua"] == rows[2]["folds"] == ""

    write_fold(exp / "even/stl_ser_base", 1, HALF, 0.7)
    leaderboard(recipe, *options)
    _, average = tables(exp / "leaderboard/LEADERBOARD.md")
    assert average[1:] == [["conventional", "87.5", "81.2", "83.3"], ["STL SER", "95.8", "93.8", "94.4"]]


def test_the_average_names_its_folds_and_leaves_out_what_was_not_tested_whole(recipe):
    """Fold 1 of even has one utterance fewer than its list, as --allow_missing true leaves it."""
    write_fold(recipe / "exp/even/stl_ser_base", 1, RIGHT, 0.7)
    write_fold(recipe / "exp/even/stl_ser_base", 2, RIGHT, 0.7)
    write_fold(recipe / "exp/odd/stl_ser_base", 1, HALF, 0.6)

    def written(*folds: str) -> tuple[str, list[list[list[str]]], dict[str, str]]:
        leaderboard(recipe, "--systems", "stl_ser", "--report_only", "true", "--folds", *folds)
        board = recipe / "exp/leaderboard/LEADERBOARD.md"
        *_, average = csv.DictReader(board.with_name("leaderboard.csv").open(encoding="utf-8"))
        return board.read_text(encoding="utf-8"), tables(board), average

    text, (rows, _), average = written("")
    assert [row[5:7] for row in rows[1:3]] == [["2 of 2", "6 of 7"], ["1 of 1", "4 of 4"]]
    assert "1 of 2 corpora" in text and "with all folds: odd." in text
    assert "Not in the average, with fewer utterances tested than listed: even." in text
    assert (average["corpus"], average["folds"], average["all_folds"]) == ("odd", "1", "1")
    list_of_fold = recipe.parents[3] / "EmoBox/data/even/fold_1/even_test_fold_1.jsonl"
    list_of_fold.write_text("".join(list_of_fold.read_text().splitlines(keepends=True)[:3]))
    text, _, average = written("1")
    assert "with those of the folds 1 that EmoBox has of it: even, odd." in text and "Not in the average" not in text
    assert (average["corpus"], average["folds"], average["all_folds"]) == ("even odd", "2", "3")


def test_a_corpus_that_fails_is_named_and_does_not_keep_the_others_from_running(recipe):
    (recipe / "systems.sh").unlink()
    stub = '#!/bin/bash\n[ "${*#*--corpus even}" = "$*" ] || { echo "error: no wav" >&2; exit 3; }\n'
    (recipe / "systems.sh").write_text(stub + 'printf "%s\\n" "$@" >called\n')
    (recipe / "systems.sh").chmod(0o755)
    root = recipe.parents[3]
    (root / "words").mkdir()
    (root / "words/odd.txt").write_text("")
    done = leaderboard(recipe, "--layout", "published", "--transcripts", "words", "--run_opts", "--nj 1")
    assert done.returncode == 1 and "error: no wav" in done.stderr
    assert done.stderr.endswith("error: even failed; log: exp/leaderboard/log/1.log\n")
    words = (recipe / "called").read_text().splitlines()
    value = {option: words[number + 1] for number, option in enumerate(words) if option in ("--systems", "--folds")}
    assert value == {"--systems": "frozen conventional stl_ser a_s", "--folds": "1"}
    assert words[words.index("--expdir") + 1] == "exp/odd" and words[words.index("--paths_from") + 1] == str(root)
    (run_opts,) = (word.removeprefix("--run_opts=") for word in words if word.startswith("--run_opts="))
    assert shlex.split(run_opts) == [
        "--emobox", f"{root}/EmoBox", "--transcripts", f"{root}/words/odd.txt", "--downloads", f"{root}/audio/odd",
        "--corpus", "odd", "--layout", "published", "--nj", "1",
    ]  # fmt: skip
    assert (recipe / "exp/leaderboard/LEADERBOARD.md").is_file()


def test_a_dry_run_lists_what_there_is_to_do(recipe):
    write_fold(recipe / "exp/even/stl_ser_base", 2, RIGHT, 0.7)
    words = recipe.parents[3] / "words"
    words.mkdir()
    for name in ("even", "evne"):
        (words / f"{name}.txt").write_text("")
    said = leaderboard(recipe, "--dry_run", "true", "--transcripts", "words").stdout.splitlines()
    assert said[6].startswith("| 4") and said[-1] == f"{words}: tables of no corpus of EmoBox: evne"
    lines = leaderboard(recipe, "--dry_run", "true", "--folds", "2 1").stdout.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert lines[0] == "1 even" and cells[1] == ["job", "system", "fold 1", "fold 2"]
    assert cells[3:6] == [
        ["1", "frozen", "to do", "to do"],
        ["2", "conventional", "to do", "to do"],
        ["3", "stl_ser", "to do", "scored"],
    ]  # a_s has no transcripts
    assert lines[7] == "2 odd" and cells[8] == ["job", "system", "fold 1"]
    assert lines[-1].startswith("left out, without a directory in ") and lines[-1].endswith(": silent")
    assert not (recipe / "exp/leaderboard").exists() and not (recipe / "data").exists()


@pytest.mark.parametrize("options, message", [
    (("--corpora", "odd gone"), "--corpus gone: "),
    (("--folds", "2", "--corpora", "odd"), "--folds '2': EmoBox has none of them of odd; it has 1"),
    (("--transcripts", "audio"), "audio: no table <corpus>.txt of even, odd there; name the directory that has them"),
    (("--transcripts", "nodir"), "nodir: no table <corpus>.txt of even, odd there"),
    (("--run_opts", "--nj JOB"), "JOB in it would be taken for a number"),
    (("--layout", "flat"), "--layout is 'flat'; allowed: emobox published"),
])  # fmt: skip
def test_wrong_options_are_one_line(recipe, options, message):
    done = leaderboard(recipe, "--dry_run", "true", *options)
    assert done.returncode and done.stderr.count("\n") == 1 and message in done.stderr, done.stderr


@pytest.mark.parametrize("content, message", [
    ("corpus,system,ua,wa,source\n", "line 1 is 'corpus,system,ua,wa,source'; write the columns corpus,system,ua"),
    ("corpus,system,ua,wa,f1,source,n\n", "line 1 is 'corpus,system,ua,wa,f1,source,n'"),
    ("", "line 1 is ''"),
    (HEADER + "emodb,B,1,2,3,c\n\nemodb,A,72.9 %,,,a paper\n", "line 4: ua is '72.9 %'; write a percentage"),
    (HEADER + "emodb,A,,100.1,,a paper\n", "line 2: wa is '100.1'"),
    (HEADER + "emodb,A,,,nan,a paper\n", "line 2: f1 is 'nan'"),
    (HEADER + "emodb,A,,72.9,,\n", "line 2 has no source"),
    (HEADER + "emodb,A, frozen,1,,,a\n", "line 2 has 7 cells; the header has 6"),
    (HEADER + 'emodb,"A\n', "cannot be read (unexpected end of data)"),
])  # fmt: skip
def test_a_wrong_file_of_published_figures_is_one_line(tmp_path, content, message):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(UserError) as error:
        read_published(tmp_path / "p.csv")
    assert str(error.value).startswith(f"{tmp_path}/p.csv: ") and message in str(error.value)


def test_the_published_figures_are_those_of_emobox_corpora():
    lines = read_published(RECIPE / "conf/published.csv")
    corpora = yaml.safe_load((RECIPE / "local/corpora.yaml").read_text())
    assert {line.corpus for line in lines} == corpora.keys()
    (iemocap,) = (line for line in lines if line.corpus == "iemocap" and line.system.startswith("Whisper"))
    assert (iemocap.ua, iemocap.wa) == ("73.5", "72.86")


def test_the_systems_have_their_configurations():
    config = yaml.safe_load((RECIPE / "conf/systems.yaml").read_text())
    assert (RECIPE / "systems.sh").resolve() == LAUNCH.parents[1] / "systems.sh"
    for system in config["systems"].values():
        file = RECIPE / system.get("ser_config", "conf/train_serialmtl.yaml")
        load(TrainConfig, file, system.get("ser_args", "").split())


def test_help_lists_the_options(recipe):
    assert "--corpora_at_once" in run_script(recipe / "leaderboard.sh", "--help")
