"""A hypothesis without a label of a task: wrong for a category, left out for a scale, and counted."""

import json
import math

import pytest
from parsed_report import rewritten
from sklearn.metrics import f1_score
from small_results import EMOTION, LABELS, pairs_of, read_two_folds, write_fold, write_two_folds
from tiny_experiment import TASKS, call, decode_arguments

from whisper_er.bin import decode, results, score
from whisper_er.data import kaldi
from whisper_er.data.kaldi import write_table
from whisper_er.report.markdown import answers, changed_table, most_certain, render
from whisper_er.report.plots import save_confusion
from whisper_er.report.utterances import error_keys, task_column
from whisper_er.score.bootstrap import sum_by
from whisper_er.score.comparison import compare
from whisper_er.score.figures import CategoryFigures
from whisper_er.score.pairing import Pairs, TaskPairs, pair_directories
from whisper_er.score.results import RESULT, read_result
from whisper_er.score.scoring import score_pairs
from whisper_er.task import Task
from whisper_er.text.grammar import FreeGrammar

VALENCE = Task("valence", "scale", ("1", "3", "5"))
# Five labelled utterances, of which two have no answer, and one without label and answer.
MISSING = [
    ("angry", "angry", 0.9), ("angry", "", 0.4), ("happy", "happy", 0.8), ("sad", "", 0.4), ("sad", "angry", 0.5),
    ("", "", 0.4),
]  # fmt: skip
RIGHT = [(ref, ref or "sad", 0.9) for ref, _, _ in MISSING]


def emotion_of(emotion: list[tuple[str, str, float]]) -> CategoryFigures:
    return CategoryFigures.of(EMOTION, pairs_of(emotion))


def test_a_category_without_an_answer_is_wrong_in_every_figure():
    figures = emotion_of(MISSING)
    assert (figures.no_answer, figures.unlabelled, figures.num_scored) == (("u01", "u03"), ("u05",), 5)
    assert figures.wa == 2 / 5
    assert figures.recall == {"angry": 1 / 2, "happy": 1, "sad": 0}
    assert figures.ua == (1 / 2 + 1 + 0) / 3
    assert figures.macro_f1 == pytest.approx((2 / (2 + 2) + 2 / (1 + 1) + 0) / 3)
    ref, hyp, _ = zip(*MISSING[:5])
    assert figures.macro_f1 == pytest.approx(f1_score(ref, hyp, labels=LABELS, average="macro", zero_division=0))
    assert figures.confusion == [[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1]]
    assert figures.answers == (*LABELS, "no answer")
    low, high = (getattr(figures.intervals["utterance"]["wa"], end) for end in ("low", "high"))
    assert low < figures.wa < high < 1


def test_of_every_speaker_it_is_wrong_as_well():
    scored = pairs_of(MISSING).labelled("emotion")
    assert {name: values["wa"] for name, values in CategoryFigures.of_speakers(EMOTION, scored).items()} == {
        "u-speaker0": 2 / 3, "u-speaker1": 0,
    }  # fmt: skip
    assert sum_by(scored.speakers, CategoryFigures.counts(EMOTION, scored)).sum() == 5


def test_calibration_is_of_the_utterances_that_have_an_answer():
    figures, answered = emotion_of(MISSING), emotion_of([one for one in MISSING if one[1]])
    assert (figures.ece, figures.nll) == (answered.ece, answered.nll)
    assert figures.nll == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.25)) / 3)
    nothing = emotion_of([("sad", "", 0.5)])
    assert (nothing.wa, nothing.ece, nothing.nll) == (0, None, None)


def test_result_json_names_them_and_has_nothing_new_where_every_answer_is_there():
    written = emotion_of(MISSING).to_json()
    assert written["no_answer"] == ["u01", "u03"]
    assert CategoryFigures.from_json("emotion", json.loads(json.dumps(written))).to_json() == written
    assert emotion_of(RIGHT).to_json().keys() == written.keys() - {"no_answer"}


def test_mcnemar_and_the_paired_bootstrap_count_it_as_wrong():
    comparison = compare(EMOTION, pairs_of(MISSING), pairs_of(RIGHT))
    assert (comparison.mcnemar.only_first, comparison.mcnemar.only_second) == (0, 3)
    assert comparison.mcnemar.p_value == 2 * (1 / 2) ** 3
    assert (comparison.figures["wa"].first, comparison.figures["wa"].second) == (2 / 5, 1)
    assert comparison.figures["wa"].second_minus_first["utterance"].difference == pytest.approx(3 / 5)
    rows = changed_table(comparison, comparison.only_second, ("free", "strict")).splitlines()[2:]
    assert [row.split("|")[-3].strip() for row in rows] == ["–", "–", "angry (0.50)"]
    back = compare(EMOTION, pairs_of(RIGHT), pairs_of(MISSING))
    assert [MISSING[i][1] for i in most_certain(back, [1, 4, 3])] == ["angry", "", ""]


def test_a_scale_without_an_answer_is_left_out_and_counted(tmp_path):
    reference = {"u1": "1", "u2": "3", "u3": "5", "u4": ""}
    for name, table in (("ref", reference), ("hyp", {"u1": "1.5", "u2": "", "u3": "4", "u4": ""})):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name / "utt2valence", table)
        write_table(tmp_path / name / "utt2spk", dict.fromkeys(table, "s"))
    pairs = pair_directories(tmp_path / "ref", tmp_path / "hyp", [VALENCE], str.lower)
    figures = score_pairs([VALENCE], pairs).tasks["valence"]
    assert (figures.no_answer, figures.unlabelled, figures.num_scored, figures.mae) == (("u2",), ("u4",), 2, 0.75)
    assert figures.to_json()["no_answer"] == ["u2"]
    assert task_column(VALENCE, pairs.tasks["valence"], True).values[1] == ["3", "", None]
    assert error_keys(VALENCE, pairs)[1] == (2, 0.0)


def test_the_tables_say_how_many_only_where_there_are_some(tmp_path):
    exp = write_two_folds(tmp_path)
    every_answer = render(exp, ["command"], [read_two_folds(exp)])
    write_fold(exp, "2", pairs_of(MISSING, "b"), tmp_path / "dump/fold2")
    some_missing = render(exp, ["command"], [read_two_folds(exp)])
    line = "2 labelled utterances whose hypothesis has no label count as wrong, in WA, UA, recall and F1: b01, b03"
    assert f"- emotion: {line}\n" in some_missing and "no answer" in some_missing
    assert "no answer" not in every_answer and "whose hypothesis" not in every_answer


def test_the_report_has_a_column_for_them_whose_cells_show_them(tmp_path):
    exp = write_two_folds(tmp_path)
    write_fold(exp, "2", pairs_of(MISSING, "b"), tmp_path / "dump/fold2")
    page = rewritten(exp)
    heading, angry, _, sad = page.tables["Confusion of emotion: % of the reference, count"]
    assert heading[-3:] == ["no answer", "recall", "utterances"]
    assert angry[-3:] == ["50.0 1", "50.0", "2"] and sad[-3].endswith(" 1")
    filters = [json.loads(attrs["data-filter"]) for tag, attrs in page.tags if "data-filter" in attrs]
    assert {"task-emotion.reference": "sad", "task-emotion.hypothesis": "no answer"} in filters
    at = 1 + [column["key"] for column in page.data["columns"]].index("task-emotion")
    rows = {row[0]: row[at] for row in page.data["rows"]}
    assert rows["b01"][:2] == [0, -1] and rows["b05"][:2] == [-1, -1]


def test_the_drawn_matrix_has_the_column(tmp_path):
    pytest.importorskip("matplotlib")
    save_confusion({"free": emotion_of(MISSING), "strict": emotion_of(RIGHT)}, tmp_path / "confusion")
    drawn = (tmp_path / "confusion.svg").read_text()
    assert drawn.count(">no answer<") == 1


def test_an_empty_transcript_is_a_text_and_no_missing_answer():
    pairs = Pairs(("u",), ("s",), {}, {"asr": TaskPairs(("a",), ("",), ("a",), ("",))})
    figures = score_pairs([Task("asr", "text")], pairs).tasks["asr"]
    assert (figures.wer, figures.no_answer) == (1, ()) and answers(pairs, "asr") == [""]


def test_missing_labels_go_from_decoding_to_the_results(trained, tmp_path, monkeypatch):
    """The search is kept from saying labels, so that they are missing whatever the model has learned."""
    monkeypatch.setattr(FreeGrammar, "suppressed_V", lambda self, first: self.bit_V > 0)
    exp, hyp = tmp_path / "exp", tmp_path / "exp/decode_free/test"
    exp.mkdir()
    for path in (trained / "exp").iterdir():
        (exp / path.name).symlink_to(path)
    call(decode, *decode_arguments(trained, exp, hyp, "grammar=free", "maxlenratio=0"))
    found, reference = kaldi.read_dir(hyp), kaldi.read_dir(trained / "test")
    where = ["--ref_dir", trained / "test", "--hyp_dir", hyp, "--exp_dir", exp, "--tasks", TASKS]
    call(score, *where, "--out", hyp / RESULT)
    call(results, "--exp_dir", exp, "--test_sets", "test", "--report_audio_mb", 0)
    figures = read_result(hyp / RESULT).score.tasks
    for task in ("gender", "emotion"):
        said, right = found[f"utt2{task}"], reference[f"utt2{task}"]
        labelled = [utt_id for utt_id in sorted(right) if right[utt_id]]
        assert figures[task].no_answer == tuple(utt_id for utt_id in labelled if not said[utt_id]) != ()
        assert figures[task].wa == sum(said[utt_id] == right[utt_id] for utt_id in labelled) / len(labelled)
    for line in (hyp / "posteriors.jsonl").read_text().splitlines():
        assert sum(json.loads(line)["emotion"].values()) == pytest.approx(1)
    written = (exp / "RESULTS.md").read_text(encoding="utf-8")
    assert "grammar `free`" in written and "emotion: 4 labelled utterances whose hypothesis has no label" in written
