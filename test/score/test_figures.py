"""The figures of a task on disk: as they were, older, forged; and what a new one takes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from parsed_report import rewritten
from sklearn.metrics import cohen_kappa_score
from small_results import ASR, EMOTION, TWO_FOLDS, read_two_folds, write_fold, write_two_folds

from whisper_er.base.errors import UserError
from whisper_er.export.data_card import DataCard
from whisper_er.export.model_card import model_index
from whisper_er.report.markdown import comparison_table, render, seed_table
from whisper_er.report.rows import convention_tables, notes
from whisper_er.score import figures
from whisper_er.score.comparison import compare
from whisper_er.score.figure import figure
from whisper_er.score.metrics import ratio
from whisper_er.score.pairing import Pairs, TaskPairs, read_pairs
from whisper_er.score.results import RESULT, SetResult, read_result
from whisper_er.score.scoring import json_text, score_pairs
from whisper_er.task import Task
from whisper_er.text.conventions import CONVENTIONS

RECORDED = Path(__file__).parent / "recorded"  # as the first version wrote it
TASKS = (Task("asr", "text"), Task("emotion", "category", ("happy", "sad")), Task("valence", "scale", ("1", "3", "5")))
FOLDS = tuple(Path(f"fold{fold}", "decode_x", "test", RESULT) for fold in "12")


def only(recorded: dict, written: dict) -> dict:
    """What was written, without the figures that were added after the recording."""
    return {
        key: only(recorded[key], value) if isinstance(value, dict) else value
        for key, value in written.items()
        if key in recorded
    }


def test_a_recorded_result_is_read_and_written_byte_for_byte():
    path = RECORDED / "result.json"
    recorded = path.read_text(encoding="utf-8")
    assert json_text(only(json.loads(recorded), read_result(path).to_json())) == recorded


def test_scoring_gives_the_recorded_figures_to_the_last_bit():
    scored = score_pairs(TASKS, read_pairs(RECORDED / "utterances.jsonl")).to_json()
    recorded = json.loads((RECORDED / "result.json").read_text(encoding="utf-8"))
    recorded = {key: recorded[key] for key in scored}
    assert json_text(only(recorded, scored)) == json_text(recorded)


def test_what_groups_hold_comes_back_as_it_was(tmp_path):
    path = write_two_folds(tmp_path) / FOLDS[0]
    result = read_result(path)
    assert result.score.groups["style"]["improvised"].tasks["emotion"].task == EMOTION
    assert json_text(result.to_json()) == path.read_text(encoding="utf-8")


def rewrite(path: Path, task: str, figures: dict, removed: tuple[str, ...] = ()) -> None:
    """Change a task's figures in a result.json."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tasks"][task] = {key: value for key, value in content["tasks"][task].items() if key not in removed}
    content["tasks"][task] |= figures
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("name", ["macro_f1", "ece", "nll", "intervals", "calibration", "num_scored", "confusion"])
def test_what_an_older_result_lacks_is_undefined_while_the_other_folds_have_it(tmp_path, name):
    exp = write_two_folds(tmp_path)
    rewrite(exp / FOLDS[0], "emotion", {}, removed=(name,))
    result = read_two_folds(exp)
    assert not getattr(result.folds["1"].result.score.tasks["emotion"], name)
    assert getattr(result.folds["2"].result.score.tasks["emotion"], name)
    title = {"macro_f1": "emotion F1", "ece": "emotion ECE", "nll": "emotion NLL"}.get(name)
    if title:
        assert result.mean["emotion"][name] is result.sd["emotion"][name] is None
        heading, *rows = rewritten(exp).tables["Figures of each fold"]
        cells = [row[heading.index(title)] for row in rows]  # fold 1, fold 2, mean ± sd, pooled
        assert cells[0] == cells[2] == "–" and "–" not in (cells[1], cells[3])
    assert "nan" not in render(exp, ["command"], [result])


def test_word_error_rates_by_convention_are_a_dash_in_results_from_before_them(tmp_path):
    exp = write_two_folds(tmp_path)  # whose utterances have no counts of them
    result = read_two_folds(exp)
    assert result.pooled.tasks["asr"].cer is result.mean["asr"]["cer"] is None
    assert convention_tables(result) == []
    counted = tuple({"cer": {"errors": 1, "words": 4}} for _ in result.pairs.utt_ids)
    values = replace(result.pairs.tasks["asr"], word_errors=counted)
    scored = score_pairs([ASR], replace(result.pairs, tasks={"asr": values}))
    (rows,) = convention_tables(replace(result, pooled=scored))
    assert [row[-2:] for row in rows[-2:]] == [["–", "–"], ["–", "25.0"]]  # WER marks, CER


@pytest.mark.parametrize("counts", [{"cer": 1}, {"cer": {"errors": 1}}, {"cer": {"errors": "1", "words": 2}}, []])
def test_forged_counts_are_one_line(tmp_path, counts):
    path = tmp_path / "utterances.jsonl"
    line = json.loads((RECORDED / "utterances.jsonl").read_text(encoding="utf-8").splitlines()[0])
    line["tasks"]["asr"]["word_errors"] = counts
    path.write_text(json.dumps(line), encoding="utf-8")
    with pytest.raises(UserError, match="utterances.jsonl: not what scoring writes"):
        read_pairs(path)


@pytest.mark.parametrize("task, wrong", [
    ("emotion", {"wa": "1"}), ("emotion", {"wa": float("nan")}), ("emotion", {"wa": True}),
    ("emotion", {"labels": None}), ("emotion", {"labels": ["sad", "sad"]}), ("emotion", {"labels": [1]}),
    ("emotion", {"confusion": [1]}), ("emotion", {"recall": {"sad": "x"}}), ("emotion", {"unlabelled": "a03"}),
    ("emotion", {"intervals": {"speaker": {"wa": [0, 1, 2]}}}), ("emotion", {"intervals": {"speaker": {"wa": 1}}}),
    ("emotion", {"calibration": {"bins": [{}]}}), ("emotion", {"calibration": []}), ("emotion", {"kind": "mood"}),
    ("emotion", {"num_scored": 1.5}), ("asr", {"normalized": {"hits": 1}}), ("asr", {"wer": []}),
])  # fmt: skip
def test_a_forged_figure_is_one_line_that_names_the_file(tmp_path, task, wrong):
    exp = write_two_folds(tmp_path)
    rewrite(exp / FOLDS[0], task, wrong)
    with pytest.raises(UserError, match="fold1/.*result.json: not what scoring writes .*run stage 6 again") as error:
        read_two_folds(exp)
    assert str(error.value).isprintable()


def test_folds_in_which_a_task_has_another_kind_are_not_averaged(tmp_path):
    as_text = TaskPairs(("sad",), ("sad",), ("sad",), ("sad",))
    folds = {"1": (EMOTION, TaskPairs(("sad",), ("sad",))), "2": (Task("emotion", "text"), as_text)}
    for fold, (task, values) in folds.items():
        write_fold(tmp_path, fold, Pairs((f"u{fold}",), ("s",), {}, {"emotion": values}), None, [task])
    with pytest.raises(UserError, match="fold2.*other tasks than .*fold1"):
        read_two_folds(tmp_path)


def test_an_open_label_stays_unlabelled_where_the_training_of_another_fold_has_it(tmp_path):
    """Fold 1 was trained on ben and carl and tested on anna, fold 2 on anna and carl, of whom carl is tested."""
    folds = {
        "1": (("ben", "carl"), TaskPairs(("", ""), ("ben", "carl"), unseen=("anna", "anna"))),
        "2": (("anna", "carl"), TaskPairs(("carl", "carl", ""), ("carl", "anna", "anna"), unseen=("", "", ""))),
    }
    for fold, (labels, values) in folds.items():
        utt_ids = tuple(f"u{fold}{i}" for i in range(len(values.reference)))
        pairs = Pairs(utt_ids, ("s",) * len(utt_ids), {}, {"speaker": values})
        write_fold(tmp_path, fold, pairs, None, [Task("speaker", "category", labels, open=True)])
    result = read_two_folds(tmp_path)
    of_fold = {fold: part.result.score.tasks["speaker"] for fold, part in result.folds.items()}
    assert [figures.wa for figures in of_fold.values()] == [None, 0.5]
    assert result.mean["speaker"]["wa"] is result.sd["speaker"]["wa"] is None
    pooled = result.pooled.tasks["speaker"]
    assert (pooled.num_scored, pooled.wa, pooled.unseen, pooled.unlabelled) == (2, 0.5, ("u10", "u11"),
                                                                                ("u10", "u11", "u22"))  # fmt: skip
    assert notes(result) == [
        "speaker: 2 of 5 utterances have a label that training lacks: unlabelled",
        "speaker: 1 utterances without a label are not scored: u22",
    ]
    heading, *rows = rewritten(tmp_path).tables["Figures of each fold"]
    assert [row[heading.index("speaker accuracy")] for row in rows] == ["–", "50.0", "–", "50.0"]


def kappa(confusion_CC: np.ndarray) -> np.ndarray:
    """Cohen's kappa: what a new figure adds to metrics.py."""
    rows, total = confusion_CC.sum(axis=-1), confusion_CC.sum(axis=(-2, -1))
    columns = confusion_CC.sum(axis=-2)[..., : rows.shape[-1]]  # without that of missing answers
    by_chance = ratio((rows * columns).sum(axis=-1), total**2)
    return ratio(ratio(np.trace(confusion_CC, axis1=-2, axis2=-1), total) - by_chance, 1 - by_chance)


@dataclass(frozen=True)
class WithKappa(figures.CategoryFigures):
    """What it adds to figures.py: a field of CategoryFigures."""

    kappa: float | None = figure(
        "kappa", scale=1, digits=3, unit="chance 0", statistic=figures.of_matrix(kappa), hub=("kappa", "kappa"),
        by_speaker=True,
    )  # fmt: skip


@pytest.fixture
def scored_with_kappa(tmp_path, monkeypatch) -> SetResult:
    monkeypatch.setitem(figures.FIGURES, "category", WithKappa)
    return read_two_folds(write_two_folds(tmp_path))


def test_a_new_figure_is_written_read_and_averaged_without_another_line(tmp_path, scored_with_kappa):
    by_fold = [cohen_kappa_score(*zip(*[(r, h) for r, h, _ in TWO_FOLDS[fold] if r])) for fold in "12"]
    written = json.loads((tmp_path / "exp/ser" / FOLDS[0]).read_text())["tasks"]["emotion"]
    assert written["kappa"] == pytest.approx(by_fold[0])
    assert len(written["intervals"]["speaker"]["kappa"]) == 2
    assert scored_with_kappa.mean["emotion"]["kappa"] == pytest.approx(np.mean(by_fold))
    assert scored_with_kappa.sd["emotion"]["kappa"] == pytest.approx(np.std(by_fold, ddof=1))


def test_a_new_figure_is_shown_in_every_table_without_another_line(tmp_path, scored_with_kappa):
    pooled = f"{scored_with_kappa.pooled.tasks['emotion'].kappa:.3f}"
    markdown = render(tmp_path, ["command"], [scored_with_kappa])
    assert "emotion kappa" in markdown and "NLL (nats) and kappa (chance 0) as they are" in markdown
    assert pooled in markdown and pooled in seed_table({"1": scored_with_kappa})
    page = rewritten(tmp_path / "exp/ser")
    assert page.tables["Figures of each fold"][0][-3:] == ["emotion ECE", "emotion NLL", "emotion kappa"]
    assert "emotion kappa" in page.tables["Per speaker"][0]
    assert [row[1] for row in page.tables["95 % bootstrap intervals"] if row[0] == "emotion kappa"] == [pooled]
    pairs = scored_with_kappa.pairs
    assert "| kappa " in comparison_table(compare(EMOTION, pairs, pairs), ("a", "b"))
    named = [metric for entry in model_index(scored_with_kappa, DataCard()) for metric in entry["metrics"]]
    assert f"{[one['value'] for one in named if one['name'] == 'emotion kappa'][0]:.3f}" == pooled


def test_a_new_figure_is_a_dash_in_results_from_before_it(tmp_path, monkeypatch):
    exp = write_two_folds(tmp_path)
    monkeypatch.setitem(figures.FIGURES, "category", WithKappa)
    heading, *rows = rewritten(exp).tables["Figures of each fold"]
    cells = [row[heading.index("emotion kappa")] for row in rows]
    assert cells[:3] == ["–"] * 3 and cells[3] != "–"


def test_every_convention_of_the_words_has_a_figure():
    names = [name for name, one in figures.TextFigures.catalogue().items() if one.title.startswith(("WER", "CER"))]
    assert names == [*CONVENTIONS]
