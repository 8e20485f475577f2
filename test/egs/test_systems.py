"""systems.sh: systems of a recipe through all stages, and their table, on made-up files of EmoDB with a tiny model."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from recipe_copy import copy_recipes, run_script
from repository import EGS, TEMPLATE
from sklearn.metrics import accuracy_score, recall_score
from tiny_whisper import sound, write_whisper

from whisper_er.base.settings import load
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.score.comparison import exact_mcnemar

PUBLISHED = (EGS / "emodb/ser1/local/utterances.txt").read_text(encoding="utf-8").split()
SHORT = ("a01", "a02", "a04")  # sentences whose letters fit the tiny decoder
FEW_STEPS = "max_steps=4 valid_interval=2 n_best=2 batch_size=8 num_workers=0 optim.lr=1e-3 dtype=float32"
RUN_OPTS = "--local_data_opts '--check_counts false' --nj 1"
SYSTEMS, FOLDS = ("conventional", "a_s", "ceiling"), ("1", "2")
DASH = "–"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, warm_python) -> Path:
    """EmoDB with about one file of every speaker and emotion."""
    root = tmp_path_factory.mktemp("systems with space")
    recipe = copy_recipes(root, warm_python) / "emodb/ser1"
    (root / "corpus/wav").mkdir(parents=True)
    one_each = {(utt_id[:2], utt_id[5]): utt_id for utt_id in PUBLISHED if utt_id[2:5] in SHORT}
    for index, utt_id in enumerate(one_each.values()):
        soundfile.write(root / "corpus/wav" / f"{utt_id}.wav", sound(4000, index), 16000)
    write_whisper(root / "tiny whisper")
    return recipe


def systems(recipe: Path, *options: str) -> str:
    root = recipe.parents[2]
    return run_script(
        recipe / "systems.sh", "--corpus_dir", root / "corpus", "--whisper_model", root / "tiny whisper", "--systems",
        " ".join(SYSTEMS), "--folds", " ".join(FOLDS), "--ser_args", FEW_STEPS, "--inference_args", "num_workers=0",
        "--run_opts", RUN_OPTS, *options, OMP_NUM_THREADS="1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(recipe) -> list[dict[str, str]]:
    assert "3 of 3 systems are scored" in systems(recipe, "--systems_at_once", "2")
    return rows(recipe / "exp/systems/SYSTEMS.md")


def rows(path: Path) -> list[dict[str, str]]:
    lines = [line.split("|")[1:-1] for line in path.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def answers(recipe: Path, tag: str, decoding: str = "default", folds=FOLDS) -> tuple[list[str], list[str]]:
    """References and hypotheses, by utterance."""
    found = {}
    for fold in folds:
        path = recipe / f"exp/{tag}/fold{fold}/decode_{decoding}/test/score/utterances.jsonl"
        for line in map(json.loads, path.read_text().splitlines()):
            found[line["utt_id"]] = (line["tasks"]["emotion"]["reference"], line["tasks"]["emotion"]["hypothesis"])
    return tuple(zip(*(found[utt_id] for utt_id in sorted(found))))


def test_the_figures_are_those_of_all_folds_utterances(recipe, table):
    for row, (tag, decoding) in zip(
        table, (("conventional", "default"), ("a_s", "default"), ("a_s", "teacher_forced"))
    ):
        ref, hyp = answers(recipe, f"{tag}_tiny_whisper", decoding)
        ua = f"{100 * recall_score(ref, hyp, average='macro', labels=sorted(set(ref)), zero_division=0):.1f}"
        assert row["UA [95 %]"].startswith(f"{ua} [")
        if decoding == "default":
            assert row["WA [95 %]"].startswith(f"{100 * accuracy_score(ref, hyp):.1f} [")
            of_folds = [100 * accuracy_score(*answers(recipe, f"{tag}_tiny_whisper", folds=[fold])) for fold in FOLDS]
            assert row["WA over folds"] == f"{np.mean(of_folds):.1f} ± {np.std(of_folds, ddof=1):.1f}"


def test_a_column_is_filled_where_the_system_has_the_task(table):
    filled = [{name for name, cell in row.items() if cell != DASH} for row in table]
    ours = {"system", "UA [95 %]", "UA over folds", "WA [95 %]", "WA over folds", "validation", "minutes"}
    compared = {"UA against conventional", "McNemar p"}
    assert filled == [
        ours,
        ours | compared | {"WER"},
        {"system", "UA [95 %]", "UA over folds"} | compared,  # of models that are another row's
    ]


def test_mcnemar_is_against_the_baseline_on_the_same_utterances(recipe, table):
    (ref, first), (same, second) = (answers(recipe, f"{tag}_tiny_whisper") for tag in ("conventional", "a_s"))
    assert ref == same
    p = exact_mcnemar([r == h for r, h in zip(ref, first)], [r == h for r, h in zip(ref, second)]).p_value
    assert table[1]["McNemar p"] == ("< 0.001" if p < 0.001 else f"{p:.3f}")


def test_the_same_models_are_decoded_in_another_way_and_kept_apart(recipe, table):
    fold = recipe / "exp/a_s_tiny_whisper/fold1"
    used = {
        name: json.loads((fold / name / "test/decode.json").read_text())["teacher_forced"]
        for name in ("decode_default", "decode_teacher_forced")
    }
    assert used == {"decode_default": False, "decode_teacher_forced": True}
    assert not (recipe / "exp/ceiling_tiny_whisper").exists()


def test_what_is_missing_is_listed_and_made_again(recipe, table):
    fold = recipe / "exp/a_s_tiny_whisper/fold2"
    subprocess.run(["rm", "-r", fold / "decode_default"], check=True)
    kept = [fold / "ave.safetensors", recipe / "exp/conventional_tiny_whisper/fold2/decode_default/test/utt2emotion"]
    before = [path.stat().st_mtime_ns for path in kept]
    lines = [re.split(r" *\| *", line)[1:-1] for line in systems(recipe, "--dry_run", "true").splitlines()]
    assert lines[2:] == [
        ["1", "conventional", "scored", "scored"],
        ["2", "a_s", "scored", "averaged"],
        ["2", "ceiling", "scored", "scored"],
    ]
    assert "2 of 3 systems are scored" in systems(recipe, "--report_only", "true")
    assert "Not yet scored: a_s." in (recipe / "exp/systems/SYSTEMS.md").read_text()
    assert "3 of 3 systems are scored" in systems(recipe)
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert [row | {"minutes": ""} for row in rows(recipe / "exp/systems/SYSTEMS.md")] == [
        row | {"minutes": ""} for row in table
    ]


def test_the_intervals_draw_the_groups_that_the_file_names(recipe, table):
    (recipe / "grouped.yaml").write_text((recipe / "conf/systems.yaml").read_text() + "interval_by: spk\n")
    systems(recipe, "--systems_config", "grouped.yaml", "--report_only", "true")
    assert "drawn by spk" in " ".join((recipe / "exp/systems/SYSTEMS.md").read_text().split())
    for row, by_utterance in zip(rows(recipe / "exp/systems/SYSTEMS.md"), table):
        value, _, ends = row["UA [95 %]"].partition(" ")
        assert value == by_utterance["UA [95 %]"].split()[0] and ends != by_utterance["UA [95 %]"].split(" ", 1)[1]
    (recipe / "grouped.yaml").write_text((recipe / "conf/systems.yaml").read_text() + "interval_by: event\n")
    options = ("--systems_config", "grouped.yaml", "--report_only", "true", "--folds", " ".join(FOLDS))
    assert "utt2event: no such file" in refused(recipe, *options, "--systems", "a_s").stderr


def refused(recipe: Path, *options: str) -> subprocess.CompletedProcess:
    model = recipe.parents[2] / "tiny whisper"
    command = [recipe / "systems.sh", "--whisper_model", model, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode and done.stderr.count("\n") == 1, done.stderr
    return done


@pytest.mark.parametrize("options, code, message", [
    (("--systems", "a_g"), 1, "--systems: 'a_g' is not in conf/systems.yaml; allowed: conventional stl_ser"),
    (("--systems_config", "none.yaml"), 1, "none.yaml: cannot be read"),
    (("--run_opts", "--expdir JOB"), 2, "JOB in it would be taken for a number"),
    (("--ser_args", "'x"), 2, "cannot split"),
    (("--systems_at_once", "0"), 2, "it must be at least 1"),
    (("--sytems", "a_s"), 2, "did you mean --systems?"),
])  # fmt: skip
def test_wrong_options_are_one_line(recipe, options, code, message):
    done = refused(recipe, "--dry_run", "true", *options)
    assert done.returncode == code and message in done.stderr, done.stderr


@pytest.mark.parametrize("section, message", [
    ("{of: gone}", "systems.x.of: 'gone' is no system that is trained"),
    ("{title: x}", "systems.x: neither tasks nor of"),
    ("{tasks: emotion, figures: [FA]}", "systems.x.figures: FA is not allowed; allowed: UA WA gender WER"),
    ("{tasks: emotion}, y: {of: x}", "systems.y.inference_tag: 'default' is that of x"),
    ("{tasks: emotion}", "baseline: conventional is not allowed; allowed: empty, x"),
    ("{task: emotion}", "unknown key 'task'; did you mean 'tasks'?"),
])  # fmt: skip
def test_a_wrong_file_is_one_line(recipe, section, message):
    (recipe / "wrong.yaml").write_text(f"systems: {{x: {section}}}\n")
    assert message in refused(recipe, "--dry_run", "true", "--systems_config", "wrong.yaml").stderr


def test_help_lists_the_options(recipe):
    assert "--systems_at_once" in run_script(recipe / "systems.sh", "--help")


@pytest.mark.parametrize("name", ["TEMPLATE", "emodb", "ravdess", "spoken_events"])
def test_every_system_of_a_recipe_has_its_configuration(name):
    directory = EGS / name / "ser1"
    config = yaml.safe_load((directory / "conf/systems.yaml").read_text())
    assert {"conventional", "stl_ser", "g_s", "a_s", "a_g_s", "random_decoder", "ceiling"} <= set(config["systems"])
    assert (directory / "systems.sh").resolve() == TEMPLATE / "systems.sh"
    folds = f'--folds "{config["folds"]}"' if "folds" in config else "--folds"
    assert (folds in (directory / "run.sh").read_text()) == ("folds" in config)
    for system in config["systems"].values():
        load(DecodeConfig, directory / "conf/decode.yaml", system.get("inference_args", "").split())
        file = system.get("ser_config", "conf/train_serialmtl.yaml")
        load(TrainConfig, directory / file, system.get("ser_args", "").split())
