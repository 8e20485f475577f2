"""egs/iemocap/ser1/paper: confusions counted by hand, presets by name. test_iemocap_paper.py runs the whole."""

import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import yaml
from repository import EGS

from whisper_er.base import settings
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.score.pairing import Pairs, TaskPairs
from whisper_er.score.results import SetResult
from whisper_er.score.scoring import score_pairs
from whisper_er.task import Task

RECIPE = EGS / "iemocap/ser1"
sys.path.insert(0, str(RECIPE / "paper"))
import confusions  # noqa: E402
from cells import Cell  # noqa: E402
from scored import Results, Scored  # noqa: E402

EMOTION = Task("emotion", "category", ("angry", "happy", "sad"))
PRESETS = sorted(path.name for path in (RECIPE / "conf").glob("paper_*"))
DASH = "–"


def result_of(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> SetResult:
    ids = tuple(f"u{i}" for i in range(len(reference)))
    pairs = Pairs(ids, ids, {}, {"emotion": TaskPairs(reference, hypothesis)})
    return SetResult("decode_paper/test", {}, pairs, score_pairs([EMOTION], pairs), None, None)


@pytest.fixture
def results() -> Results:
    """Of four utterances the conventional method has all wrong, two of them happy and angry; G+S has two of these."""
    config = yaml.safe_load((RECIPE / "paper/systems.yaml").read_text())
    reference = ("happy", "angry", "sad", "angry")
    hypotheses = {"conventional": ("angry", "happy", "angry", "sad"), "g_s": ("happy", "happy", "sad", "sad")}
    return Results(
        config,
        {
            (system, model): Scored(
                Cell(system, model, config["systems"][system], config["models"][model]),
                {"": result_of(reference, hypothesis)},
            )
            for model in ("base", "large-v3")
            for system, hypothesis in hypotheses.items()
        },
    )


def body(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_the_papers_falls_stand_in_the_rows_of_large_v3_alone(results):
    with mock.patch("confusions.save_confusion"):
        *_, table = confusions.figure_2(results, Path("figures"))
    assert body(table) == [
        ["base", "G+S", "happy and angry", "2", "1", "50.0", DASH],
        ["base", "G+S", "all", "4", "2", "50.0", DASH],
        ["large-v3", "G+S", "happy and angry", "2", "1", "50.0", "37.1"],
        ["large-v3", "G+S", "all", "4", "2", "50.0", "15.4"],
    ]


def test_figure_2_adds_seeds_of_which_one_has_a_missing_answer(results):
    one = results.cells["conventional", "base"]
    runs = {
        seed: result_of(("happy", "angry"), hypothesis)
        for seed, hypothesis in (("1", ("happy", "")), ("2", ("sad", "angry")))
    }
    figures = confusions.pooled_confusion(Scored(one.cell, runs))
    assert figures.answers == (*EMOTION.labels, "no answer")
    assert figures.confusion == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_table_3_has_confusions_of_happy_and_angry_that_are_mended(results):
    intro, table, *_ = confusions.table_3(results)
    assert intro.startswith("G+S, base: 1 utterances")  # u1 stays wrong, u2 and u3 were no such confusions
    assert body(table) == [["u0", "happy", "angry", "happy"]]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_files_say_more_than_those_of_conf_and_keep_what_the_paper_says(preset):
    files = list((RECIPE / "conf" / preset).glob("*.yaml"))
    assert len(files) >= 6
    for path in files:
        kind = TrainConfig if path.name.startswith("train") else DecodeConfig
        own, usual = (settings.load(kind, place) for place in (path, RECIPE / "conf" / path.name))
        assert own != usual, path
        if kind is DecodeConfig:
            assert own.beam_size == 4
            continue
        same = ("max_steps", "valid_interval", "patience", "n_best", "batch_size", "accum_grad", "normalize_loss")
        assert [getattr(own, name) for name in same] == [getattr(usual, name) for name in same]
        assert (own.model.kind, own.model.decoder_init) == (usual.model.kind, usual.model.decoder_init)
        assert (own.optim.lr, own.optim.betas, own.optim.schedule) == (1e-5, [0.9, 0.999], "plateau")


def resolved(*options: str) -> list[str]:
    """What run.sh would give to ser.sh."""
    script = '. paper/preset.sh; apply_preset "$@"; printf "%s\\n" "${arguments[@]}"'
    done = subprocess.run(
        ["bash", "-euc", script, "bash", *options], cwd=RECIPE, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_preset_gives_its_own_files_and_conf_the_others():
    given = ["--ser_config", "conf/train_stl.yaml", "--inference_config=conf/decode.yaml", "--tasks", "asr emotion"]
    assert resolved(*given) == resolved(*given, "--preset", "") == given
    assert resolved("--preset=paper_transformers", *given) == [
        *("--expdir", "exp/paper_transformers", "--ser_config", "conf/paper_transformers/train_stl.yaml"),
        *("--inference_config=conf/paper_transformers/decode.yaml", "--tasks", "asr emotion"),
    ]
    usual = ["--ser_config", "conf/train_zero_shot.yaml"]
    assert resolved(*usual, "--preset", "paper_espnet")[-2:] == usual


def test_options_of_the_data_follow_those_of_the_preset():
    options = "--punctuation split --tags keep"
    for given in (["--local_data_opts", "--tags drop"], ["--local_data_opts=--tags drop"]):
        assert f"{options} --tags drop" in resolved("--preset", "paper_espnet", *given)[-1]
        assert "data/paper_espnet" in resolved("--preset", "paper_espnet", *given)
        assert resolved("--preset", "paper_transformers", *given)[-len(given) :] == given


@pytest.mark.parametrize("preset", ["", "paper_transformers", "paper_espnet"])
def test_a_wer_protocol_says_of_each_row_what_it_suppresses_whatever_the_preset_does(preset):
    options = ("--wer_protocols", "true", "--dry_run", "true", "--models", "base", "--preset", preset)
    done = subprocess.run([RECIPE / "paper.sh", *options], capture_output=True, text=True, check=True)
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    tags, inference_args = (
        [command[command.index(option) + 1] for command in commands]
        for option in ("--inference_tag", "--inference_args")
    )
    values = ["whisper", "none"] * 2
    assert tags == [f"paper_suppress_{value}" for value in values]
    assert [args.split()[-1] for args in inference_args] == [f"suppress={value}" for value in values]
