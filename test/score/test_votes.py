"""Posteriors against votes, by hand; intervals of the CCC; both from tables to RESULTS.md."""

import math
from dataclasses import replace

import numpy as np
import pytest
from small_results import EMOTION, pairs_of, write_fold

from whisper_er.base.errors import UserError
from whisper_er.data.kaldi import write_table
from whisper_er.report.markdown import render
from whisper_er.score import bootstrap, metrics
from whisper_er.score.calibration import brier, jensen_shannon, kullback_leibler
from whisper_er.score.figures import CategoryFigures, ScaleFigures
from whisper_er.score.pairing import TaskPairs, check_answers, pair_directories, read_pairs, to_lines
from whisper_er.score.results import collect
from whisper_er.task import Task
from whisper_er.text.conventions import Writing

LOG2 = math.log(2)
ANSWERS = [("sad", "sad", 0.5), ("", "angry", 0.5), ("happy", "happy", 1.0)]
VOTES = ({"sad": 3, "angry": 1}, {"angry": 1, "happy": 1}, {})


@pytest.mark.parametrize("votes, posterior, js, kl, squares", [
    ([1, 0], [1, 0], 0, 0, 0),
    ([1, 0], [0, 1], LOG2, 12 * math.log(10), 2),  # the floor is 1e-12
    ([0.5, 0.5], [1, 0], (0.5 * math.log(2 / 3) + 0.5 * LOG2 + math.log(4 / 3)) / 2,
     0.5 * math.log(0.5) + 0.5 * math.log(0.5e12), 0.5),
    ([0.75, 0.25], [0.5, 0.5],
     (0.75 * math.log(1.2) + 0.25 * math.log(2 / 3) + 0.5 * math.log(0.8) + 0.5 * math.log(4 / 3)) / 2,
     0.75 * math.log(1.5) + 0.25 * math.log(0.5), 0.125),
])  # fmt: skip
def test_distances_are_those_by_hand(votes, posterior, js, kl, squares):
    votes_NC, posterior_NC = np.array([votes], dtype=float), np.array([posterior], dtype=float)
    assert jensen_shannon(votes_NC, posterior_NC) == pytest.approx([js], abs=1e-9)
    assert kullback_leibler(votes_NC, posterior_NC) == pytest.approx([kl], abs=1e-9)
    assert brier(votes_NC, posterior_NC) == pytest.approx([squares])


def voted():
    pairs = pairs_of(ANSWERS)
    return replace(pairs, tasks={"emotion": replace(pairs.tasks["emotion"], votes=VOTES)})


def test_the_figures_are_means_over_what_has_votes_with_a_label_or_without(tmp_path):
    pairs = voted()
    figures = CategoryFigures.of(EMOTION, pairs)
    votes_NC = np.array([[0.25, 0, 0.75], [0.5, 0.5, 0]])
    posterior_NC = np.array([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]])
    assert figures.brier == pytest.approx(((votes_NC - posterior_NC) ** 2).sum() / 2)
    assert figures.kl == pytest.approx((0.75 * math.log(1.5) + 0.5 * math.log(2)) / 2)
    assert figures.num_voted == 2 and figures.num_scored == 2
    (tmp_path / "utterances.jsonl").write_text(to_lines(pairs))
    assert read_pairs(tmp_path / "utterances.jsonl").tasks["emotion"].votes == VOTES
    plain = CategoryFigures.of(EMOTION, pairs_of(ANSWERS))
    assert plain.jsd is plain.kl is plain.brier is plain.num_voted is None
    assert not {"jsd", "kl", "brier", "num_voted"} & plain.to_json().keys() and "ece" in plain.to_json()


def results_of(tmp_path, pairs) -> str:
    write_fold(tmp_path, "1", pairs, None, tasks=(EMOTION,))
    return render(tmp_path, ["command"], collect(tmp_path, ["1"], "test", "x"))


@pytest.mark.parametrize("forged", [{"sad": 0}, {"sad": -1}, {"other": 1}])
def test_forged_votes_are_one_line(tmp_path, forged):
    values = replace(voted().tasks["emotion"], votes=(forged, {}, {}))
    path = tmp_path / "utterances.jsonl"
    with pytest.raises(UserError, match="utterances.jsonl: u00 has votes .* run stage 6 again"):
        check_answers(EMOTION, path, replace(voted(), tasks={"emotion": values}))


def test_results_have_them_where_there_are_votes(tmp_path):
    plain = replace(voted(), tasks={"emotion": replace(voted().tasks["emotion"], votes=())})
    with_votes, without = results_of(tmp_path / "a", voted()), results_of(tmp_path / "b", plain)
    for title in ("emotion JSD", "emotion KL", "emotion Brier", "over the 2 utterances that have votes"):
        assert title in with_votes and title not in without


def test_votes_come_from_the_reference_directory_and_bad_ones_are_one_line(tmp_path):
    for name in ("ref", "hyp"):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name / "utt2emotion", {"a": "sad", "b": "happy"})
    write_table(tmp_path / "ref/utt2spk", {"a": "s", "b": "s"})
    write_table(tmp_path / "ref/utt2emotion_votes", {"a": "sad:2 other:7", "b": ""})
    directories = (tmp_path / "ref", tmp_path / "hyp", [EMOTION], Writing("en", str))
    assert pair_directories(*directories).tasks["emotion"].votes == ({"sad": 2}, {})
    write_table(tmp_path / "ref/utt2emotion_votes", {"a": "sad=2", "b": ""})
    with pytest.raises(UserError, match="utt2emotion_votes: a: bad votes at 'sad=2'"):
        pair_directories(*directories)


def test_the_ccc_has_the_interval_of_a_plain_bootstrap(monkeypatch):
    rng = np.random.default_rng(0)
    ref = rng.uniform(1, 5, 200)
    hyp = 3 + 0.5 * (ref - 3) + rng.standard_normal(200)
    draws = (rng.integers(200, size=200) for _ in range(2000))
    ccc = np.array([metrics.score_scale(ref[draw], hyp[draw]).ccc for draw in draws])
    rows_NX = metrics.scale_rows(ref, hyp)
    assert metrics.concordance(rows_NX.sum(axis=0)) == pytest.approx(metrics.score_scale(ref, hyp).ccc)
    interval = bootstrap.bootstrap_interval(rows_NX, metrics.concordance)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(ccc, [0.025, 0.975]), abs=0.2 * ccc.std())
    monkeypatch.setattr(bootstrap, "MOST_DRAWS", 1000)  # five resamples at a time
    assert bootstrap.bootstrap_interval(rows_NX, metrics.concordance) == interval


def test_equal_constants_have_no_ccc_and_a_scale_of_results_has_its_interval():
    assert math.isnan(metrics.concordance(metrics.scale_rows([0.1] * 7, [0.1] * 7).sum(axis=0)))
    assert metrics.concordance(metrics.scale_rows([0.1] * 7, [0.3] * 7).sum(axis=0)) == 0
    pairs, valence = pairs_of(ANSWERS * 4), Task("valence", "scale", ("1", "5"))
    values = TaskPairs(tuple("123451234512"), tuple("123441234412"))
    figures = ScaleFigures.of(valence, replace(pairs, tasks={"valence": values}))
    for ends in (figures.intervals["utterance"]["ccc"], figures.intervals["speaker"]["ccc"]):
        assert ends.low <= figures.ccc <= ends.high < 1.0001
    again = ScaleFigures.from_json("valence", figures.to_json())
    assert again.intervals == figures.intervals and again.mae == figures.mae
