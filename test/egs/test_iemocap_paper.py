"""egs/iemocap/ser1/paper.sh: every system of the paper through all stages, on a small stand-in with tiny models."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from recipe_copy import copy_recipes, run_script
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from tiny_ssl import write_model
from tiny_whisper import write_whisper

from whisper_er.base.settings import load
from whisper_er.config import TrainConfig

FEW_STEPS = "max_steps=4 valid_interval=2 n_best=2 batch_size=8 num_workers=0 optim.lr=1e-3"
OPTIONS = ("--paper_config", "tiny.yaml", "--models", "base wavlm-base", "--folds", "1 2")
SYSTEMS = ["conventional", "stl_ser", "a_s", "g_s", "a_g_s", "stl_gr", "stl_asr", "zero_shot", "random_decoder"]
CELLS = [f"{system}_base" for system in SYSTEMS] + ["conventional_wavlm-base"]
DASH = "–"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, warm_python) -> Path:
    """The recipe, a stand-in of a few utterances of every session, speaker, style and class, and tiny models."""
    root = tmp_path_factory.mktemp("paper with space")
    recipe = copy_recipes(root, warm_python) / "iemocap/ser1"
    make = [sys.executable, recipe / "local/make_standin.py", "--out_dir", root / "stand in", "--per_cell", "1"]
    subprocess.run(make, check=True)
    write_whisper(root / "models" / "tiny whisper")
    write_model(root / "models" / "wavlm", "wavlm", "base")
    config = yaml.safe_load((recipe / "paper/systems.yaml").read_text())
    for name in ("base", "large-v3"):
        config["models"][name] = {"options": ["--whisper_model", str(root / "models" / "tiny whisper")]}
    config["models"]["wavlm-base"]["options"][1] = str(root / "models" / "wavlm")
    (recipe / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return recipe


def paper(recipe: Path, *options: str) -> str:
    run_opts = "--local_data_opts '--check_counts false' --nj 1"
    return run_script(
        recipe / "paper.sh",
        *OPTIONS,
        "--iemocap",
        str(recipe.parents[2] / "stand in"),
        "--run_opts",
        run_opts,
        "--ser_args",
        FEW_STEPS,
        "--inference_args",
        "num_workers=0 beam_size=2",
        "--cells_at_once",
        "2",
        *options,
        OMP_NUM_THREADS="1",
    )


@pytest.fixture(scope="module")
def report(recipe) -> str:
    out = paper(recipe)
    assert "10 of 10 cells are scored" in out
    return (recipe / "exp/paper/REPORT.md").read_text()


def rows(report: str, title: str) -> list[dict[str, str]]:
    """The first table of a section: column -> cell, per row."""
    section = report.split(f"\n## {title}")[1].split("\n## ")[0]
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def test_every_cell_of_every_table_is_filled(report):
    assert "Not yet scored" not in report
    wanted = {
        "Table 2": ("WA", "UA", "WA over folds", "UA over folds", "paper WA", "paper UA"),
        "Table 5": ("WA", "UA"),
        "Table 6": ("trainable parameters", "paper"),
        "Beyond the paper": ("WA", "UA", "WA over folds"),
    }
    sizes = {"Table 2": 5, "Table 5": 3, "Table 6": 2, "Beyond the paper": 2}
    for title, columns in wanted.items():
        table = rows(report, title)
        assert len(table) == sizes[title]
        assert [row[column] for row in table for column in columns if DASH in row[column]] == []
    tasks = {
        "before fine-tuning": "A",
        "STL SER": "S",
        "STL GR": "G",
        "STL ASR": "A",
        "A+S": "AS",
        "G+S": "GS",
        "A+G+S": "AGS",
    }
    table = {row["system"]: row for row in rows(report, "Table 4")}
    assert list(table) == list(tasks)
    for system, row in table.items():
        for column, task in (("WA", "S"), ("UA", "S"), ("GR", "G"), ("WER", "A"), ("WER raw", "A")):
            assert (row[column] != DASH) == (task in tasks[system]), (system, column)
    styles = rows(report, "Improvised and scripted")
    assert len(styles) == 7 and all(DASH not in row.values() for row in styles)
    assert len(re.findall("exact McNemar test", report)) == 6


def test_the_papers_figures_stand_beside_ours(report):
    row = next(row for row in rows(report, "Table 2") if row["system"] == "A+G+S")
    assert (row["paper WA"], row["paper UA"]) == ("74.1", "74.8")
    for system in ("A+S", "G+S", "A+G+S"):  # the paper's are of large-v3
        own = [row for row in rows(report, "Figure 2") if row["system"] == system]
        assert [(row["taken for each other"], row["paper"]) for row in own] == [
            ("happy and angry", DASH),
            ("all", DASH),
        ]


def answers(recipe: Path, cell: str) -> dict[str, tuple[str, str]]:
    """Of both folds: utterance -> reference, hypothesis."""
    paths = [recipe / f"exp/{cell}/fold{fold}/decode_paper/test/score/utterances.jsonl" for fold in (1, 2)]
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    emotions = [(line["utt_id"], line["tasks"]["emotion"]) for line in lines]
    return {utt_id: (emotion["reference"], emotion["hypothesis"]) for utt_id, emotion in emotions}


def test_a_figure_is_that_of_all_folds_utterances(recipe, report):
    ref, hyp = zip(*answers(recipe, "a_g_s_base").values())
    row = next(row for row in rows(report, "Table 2") if row["system"] == "A+G+S")
    assert row["WA"].startswith(f"{100 * accuracy_score(ref, hyp):.1f} (")
    assert row["UA"].startswith(f"{100 * balanced_accuracy_score(ref, hyp):.1f} (")


def test_figure_2_has_the_errors_of_every_serial_mtl_system(recipe, report):
    table = rows(report, "Figure 2")
    assert [row["system"] for row in table] == ["A+S", "A+S", "G+S", "G+S", "A+G+S", "A+G+S"]
    for title, cell in (("A+S", "a_s_base"), ("G+S", "g_s_base"), ("A+G+S", "a_g_s_base")):
        confused, wrong = (row for row in table if row["system"] == title)
        for column, name in (("conventional", "conventional_base"), ("Whisper-ER", cell)):
            pairs = answers(recipe, name).values()
            assert confused[column] == str(sum(set(pair) == {"happy", "angry"} for pair in pairs))
            assert wrong[column] == str(sum(ref != hyp for ref, hyp in pairs))
        before, after = int(wrong["conventional"]), int(wrong["Whisper-ER"])
        assert wrong["fall %"] == f"{100 * (before - after) / before:.1f}"


def test_figure_2_is_drawn(recipe, report):
    assert "(figures/figure_2_base.png)" in report
    figures = recipe / "exp/paper/figures"
    assert (figures / "figure_2_base.png").read_bytes().startswith(b"\x89PNG")
    svg = (figures / "figure_2_base.svg").read_text()
    assert all(
        f">{text}<" in svg
        for text in ("conventional, base", "A+S, base", "G+S, base", "A+G+S, base", "happy", "angry", "neutral", "sad")
    )


def test_what_was_trained_selected_and_tested_is_written_down(report):
    assert report.count("model selected by valid_emotion_accuracy on") == 7
    assert report.count("`exp/zero_shot_base`; fold 1: not trained, nothing selected; tested on") == 1
    assert "0 of them in training, 0 in validation" in report


def test_whisper_before_fine_tuning_is_whisper_itself(recipe, report):
    exp = recipe / "exp/zero_shot_base/fold1"
    config = yaml.safe_load((exp / "config.yaml").read_text())
    assert (config["max_steps"], config["model"]["pad"]) == (0, "30s")
    assert "0 of them added" not in (exp / "token_list/token_list.yaml").read_text()
    listed = yaml.safe_load((exp / "token_list/token_list.yaml").read_text())
    assert [task["name"] for task in listed["tasks"]] == ["asr"]
    assert json.loads((exp / "decode_paper/test/decode.json").read_text())["suppress"] == "whisper"


def test_what_is_missing_is_listed_and_made_again(recipe, report):
    fold = recipe / "exp/g_s_base/fold2"
    subprocess.run(["rm", "-r", fold / "decode_paper"], check=True)
    others = recipe / "exp/a_s_base/fold2/decode_paper/test"
    before = [path.stat().st_mtime_ns for path in (fold / "ave.safetensors", others / "utt2emotion")]
    states = {
        line.split("|")[2].strip(): line.split("|")[4:6]
        for line in paper(recipe, "--dry_run", "true", "--models", "base").splitlines()[2:]
    }
    assert [cell.strip() for cell in states["g_s"]] == ["scored", "averaged"]
    assert [cell.strip() for cell in states["a_s"]] == ["scored", "scored"]
    partial = run_script(recipe / "paper.sh", *OPTIONS, "--report_only", "true")
    assert "9 of 10 cells are scored" in partial
    assert "Not yet scored: g_s_base." in (recipe / "exp/paper/REPORT.md").read_text()
    assert "2 of 2 cells are scored" in paper(recipe, "--systems", "g_s a_s", "--models", "base")
    assert [path.stat().st_mtime_ns for path in (fold / "ave.safetensors", others / "utt2emotion")] == before


@pytest.mark.parametrize("preset, systems, data, training, decoding", [
    ("paper_transformers", "stl_ser", "data", ("30s", False, "greedy"), ("free", 1.0)),
    ("paper_espnet", "conventional a_s", "data/paper_espnet", ("none", True, "teacher_forced"), ("free", 0.0)),
])  # fmt: skip
def test_a_preset_runs_with_directories_of_its_own(recipe, report, preset, systems, data, training, decoding):
    before = {path: path.read_bytes() for path in (recipe / "data/all/text", recipe / "exp/paper/REPORT.md")}
    steps = FEW_STEPS.replace("max_steps=4", "max_steps=2")
    what = ("--systems", systems, "--models", "base", "--folds", "1", "--ser_args", steps)
    out = paper(recipe, "--preset", preset, *what)
    assert f" cells are scored; report: exp/{preset}/paper/REPORT.md" in out
    exp = recipe / "exp" / preset
    report = (exp / "paper/REPORT.md").read_text()
    assert f"Preset {preset}: " in report and "Not yet scored" not in report
    fold = exp / f"{systems.split()[-1]}_base/fold1"
    config = yaml.safe_load((fold / "config.yaml").read_text())
    assert (config["model"]["pad"], config["bucketing"], config["valid"]["predict"]) == training
    decoded = json.loads((fold / "decode_paper/test/decode.json").read_text())
    assert (decoded["grammar"], decoded["length_penalty"]) == decoding
    texts = (recipe / data / "all/text").read_text()
    assert bool(re.search(r" [.,?!]", texts)) == (preset == "paper_espnet")
    assert before == {path: path.read_bytes() for path in before}


def test_several_seeds_give_mean_and_deviation(recipe, report):
    out = paper(
        recipe, "--systems", "zero_shot", "--models", "base", "--folds", "1", "--seeds", "1 2", "--expdir", "exp/seeds"
    )
    assert "1 of 1 cells are scored" in out
    report = (recipe / "exp/seeds/paper/REPORT.md").read_text()
    row = next(row for row in rows(report, "Table 4") if row["system"] == "before fine-tuning")
    assert re.fullmatch(r"\d+\.\d ± 0\.0", row["WER"])  # nothing is drawn, so the seeds agree
    assert (recipe / "exp/seeds/zero_shot_base/RESULTS.md").is_file()


@pytest.mark.parametrize("options, code, message", [
    (("--systems", "a_g"), 1, "--systems: 'a_g' is not in the paper's file; allowed: conventional stl_ser"),
    (("--models", "wavlm-base", "--systems", "a_s"), 1, "no such combination"),
    (("--paper_config", "none.yaml"), 1, "none.yaml: no such file"),
    (("--wer_protocols", "true", "--seeds", "1 2"), 1, "--seeds 1 2: --wer_protocols has one system"),
    (("--run_opts", "--ser_tag fold_JOB"), 2, "JOB in it would be taken for a number"),
    (("--run_opts", "--local_data_opts 'x"), 2, "cannot split"),
    (("--cells_at_once", "0"), 2, "it must be at least 1"),
    (("--preset", "espnet"), 2, "--preset is 'espnet'; it must be paper_espnet or paper_transformers"),
])  # fmt: skip
def test_wrong_options_are_one_line(recipe, options, code, message):
    done = subprocess.run(
        [recipe / "paper.sh", "--dry_run", "true", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == code and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_every_configuration_of_the_paper_is_there(recipe):
    config = yaml.safe_load((recipe / "paper/systems.yaml").read_text())
    assert list(config["systems"]) == SYSTEMS
    for system in config["systems"].values():
        load(TrainConfig, recipe / system["ser_config"])
    for model in ("base", "large-v3"):
        assert config["models"][model]["options"] == ["--whisper_model", f"openai/whisper-{model}"]
    steps = dict(value.split("=") for value in config["models"]["large-v3"]["ser_args"])
    assert int(steps["batch_size"]) * int(steps["accum_grad"]) == 16


def test_whisper_before_fine_tuning_is_scored_by_every_convention_and_decoding(recipe):
    paper(recipe, "--systems", "zero_shot", "--models", "base", "--folds", "1")
    weights = (recipe / "exp/zero_shot_base/fold1/ave.safetensors").resolve()
    before = weights.stat().st_mtime_ns
    paper_figure = yaml.safe_load((recipe / "tiny.yaml").read_text())
    paper_figure["systems"]["zero_shot"]["paper"]["base"] = {"WER": 22.2}
    (recipe / "protocols.yaml").write_text(yaml.safe_dump(paper_figure, sort_keys=False))
    options = ("--wer_protocols", "true", "--paper_config", "protocols.yaml", "--models", "base", "--folds", "1")
    out = paper(recipe, *options)
    assert weights.stat().st_mtime_ns == before  # those that paper.sh has decoded
    written = (recipe / "exp/paper/WER_PROTOCOLS.md").read_text()
    assert written in out
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines() if line[:1] == "|"]
    head, _, *rows = lines
    assert head == ["model", "pad", "suppress", "WER", "WER raw", "WER lower", "WER marks", "CER"]
    assert [row[:3] for row in rows] == [
        ["base", pad, suppress] for pad in ("30s", "none") for suppress in ("whisper", "none")
    ]
    for row, (tag, decoding) in zip(
        rows,
        [
            (tag, f"decode_paper{suppress}")
            for tag in ("", "_pad_none")
            for suppress in ("_suppress_whisper", "_suppress_none")
        ],
        strict=True,
    ):
        fold = recipe / f"exp/zero_shot_base{tag}/fold1"
        assert yaml.safe_load((fold / "config.yaml").read_text())["model"]["pad"] == row[1]
        assert json.loads((fold / decoding / "test/decode.json").read_text())["suppress"] == row[2]
        scored = json.loads((fold / decoding / "test/score/result.json").read_text())["tasks"]["asr"]
        names = ("wer", "wer_raw", "wer_lower", "wer_marks", "cer")
        assert row[3:] == [f"{100 * scored[name]:.1f}" for name in names]
    wanted = min((float(cell) for row in rows for cell in row[3:-1]), key=lambda rate: abs(rate - 22.2))
    nearest = written.split("## Nearest to the paper's 22.2 for base\n\n- ")[1].splitlines()[0]
    assert nearest.endswith(f": {wanted:.1f} ({wanted - 22.2:+.1f})")
    table = run_script(recipe / "paper.sh", *options[:6], "--folds", "1 2", "--report_only", "true")
    assert f"| {DASH} |" in re.sub(" +", " ", table)  # fold 2 is missing
