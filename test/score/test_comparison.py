"""Two systems on the same utterances: figures by scikit-learn, tests by scipy, answers that changed hands by hand."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from entry_point import error_of, run_entry_point
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from whisper_er.base.errors import UserError
from whisper_er.report.markdown import changed_table, comparison_table, most_certain
from whisper_er.score.comparison import compare
from whisper_er.score.metrics import score_scale
from whisper_er.score.pairing import Pairs, TaskPairs
from whisper_er.score.scoring import score_pairs, write_score
from whisper_er.task import Task

LABELS = ("angry", "happy", "sad")
EMOTION = Task("emotion", "category", LABELS)
ASR = Task("asr", "text")
ABOUT = {
    "protocol": "",
    "decoding": {},
    "training": {"command": []},
    "text_normalizer": {"language": "en", "spellings": 0},
}
NUM = 60


def system(accuracy: float, seed: int, posterior: bool = True) -> Pairs:
    """Answers of a given accuracy on the same utterances of six speakers; the last reference has no label."""
    rng, references = random.Random(seed), random.Random(0)
    ref = [references.choice(LABELS) for _ in range(NUM - 1)] + [""]
    hyp = [own if own and rng.random() < accuracy else rng.choice(LABELS) for own in ref]
    sure = [rng.uniform(0.4, 1.0) for _ in hyp]
    posteriors = tuple({label: p if label == own else (1 - p) / 2 for label in LABELS} for own, p in zip(hyp, sure))
    words = tuple(f"word {i % 3}" for i in range(NUM))
    heard = tuple(text if rng.random() < accuracy else "word" for text in words)
    return Pairs(
        tuple(f"u{i:02d}" for i in range(NUM)),
        tuple(f"s{i % 6}" for i in range(NUM)),
        {"style": tuple("ab"[i % 2] for i in range(NUM))},
        {
            "emotion": TaskPairs(tuple(ref), tuple(hyp), posterior=posteriors if posterior else ()),
            "asr": TaskPairs(words, heard, words, heard),
        },
    )


def test_figures_are_those_of_scikit_learn_and_the_split_that_of_scipy():
    first, second = system(0.4, seed=1), system(0.8, seed=2)
    comparison = compare(EMOTION, first, second)
    ref = first.tasks["emotion"].reference[:-1]
    hyps = [pairs.tasks["emotion"].hypothesis[:-1] for pairs in (first, second)]
    for name, figure in (("wa", accuracy_score), ("ua", balanced_accuracy_score)):
        compared = comparison.figures[name]
        assert [compared.first, compared.second] == pytest.approx([figure(ref, hyp) for hyp in hyps])
        for bootstrap in compared.second_minus_first.values():
            assert bootstrap.difference == pytest.approx(compared.second - compared.first)
            assert bootstrap.interval.low < bootstrap.difference < bootstrap.interval.high
    only = [
        [i for i, own in enumerate(ref) if own == right[i] and own != wrong[i]] for right, wrong in (hyps, hyps[::-1])
    ]
    assert [comparison.only_first, comparison.only_second] == only
    assert comparison.mcnemar.p_value == pytest.approx(binomtest(len(only[0]), len(only[0]) + len(only[1])).pvalue)


def test_an_utterance_without_a_label_counts_nowhere_and_order_does_not_matter():
    first, second = system(0.4, seed=1), system(0.8, seed=2)
    mixed = second.select(random.Random(5).sample(range(NUM), NUM))
    comparison = compare(EMOTION, first, mixed)
    assert len(comparison.first.utt_ids) == NUM - 1
    assert comparison == compare(EMOTION, first, second)


def test_a_text_is_compared_by_word_errors():
    first, second = system(0.4, seed=1), system(0.8, seed=2)
    comparison = compare(ASR, first, second)
    assert comparison.figures["wer"].first == pytest.approx(
        sum(text == "word" for text in first.tasks["asr"].hypothesis) / (2 * NUM)
    )
    assert comparison.mcnemar.only_second == len(comparison.only_second) > comparison.mcnemar.only_first


def test_a_system_against_itself_does_not_differ():
    comparison = compare(EMOTION, system(0.6, seed=1), system(0.6, seed=1))
    assert comparison.mcnemar.p_value == 1 and comparison.only_first == comparison.only_second == []
    assert "p |" in comparison_table(comparison, ("a", "b"))
    assert all(b.p_value == 1 for f in comparison.figures.values() for b in f.second_minus_first.values())


def test_the_most_certain_answers_come_first_and_are_shown_with_their_transcripts():
    comparison = compare(EMOTION, system(0.3, seed=1), system(0.9, seed=2))
    shown = most_certain(comparison, comparison.only_second)
    values = comparison.second.tasks["emotion"]
    sure = [values.posterior[i][values.hypothesis[i]] for i in shown]
    assert sure == sorted(sure, reverse=True) and sorted(shown) == comparison.only_second
    rows = changed_table(comparison, shown[:1], ("a", "b")).splitlines()
    cells = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert [cell.strip() for cell in rows[0].strip("|").split("|")] == [
        "utterance",
        "transcript",
        "heard by a",
        "heard by b",
        "emotion",
        "a",
        "b",
    ]
    assert cells[0] == comparison.first.utt_ids[shown[0]] and cells[4] == values.reference[shown[0]]
    assert cells[6] == f"{values.reference[shown[0]]} ({sure[0]:.2f})"


def test_what_cannot_be_compared_is_named():
    first, second = system(0.4, seed=1), system(0.8, seed=2)
    with pytest.raises(UserError, match="only one of the two systems was tested on u58, u59"):
        compare(EMOTION, first, second.select(range(NUM - 2)))
    other = second.tasks["emotion"]
    changed = TaskPairs(("sad",) * NUM, other.hypothesis)
    with pytest.raises(UserError, match="other references of emotion: u"):
        compare(EMOTION, first, Pairs(second.utt_ids, second.speakers, {}, {"emotion": changed}))


VALENCE = Task("valence", "scale", ("1", "3", "5"))


def scale_system(noise: float, seed: int, unanswered: int) -> Pairs:
    """Answers that are off by so much; one has none."""
    ref = np.random.default_rng(0).uniform(1, 5, NUM)
    hyp = [f"{value:.4f}" for value in ref + noise * np.random.default_rng(seed).standard_normal(NUM)]
    hyp[unanswered] = ""
    pairs = system(0.5, seed=1)
    return replace(pairs, tasks={"valence": TaskPairs(tuple(f"{value:.4f}" for value in ref), tuple(hyp))})


def test_scales_are_compared_by_ccc_where_both_have_an_answer():
    first, second = scale_system(2.0, 1, unanswered=3), scale_system(0.5, 2, unanswered=4)
    comparison = compare(VALENCE, first, second)
    both = [i for i in range(NUM) if i not in (3, 4)]
    ref, *hyps = (
        np.array([float(column[i]) for i in both])
        for column in (
            first.tasks["valence"].reference,
            first.tasks["valence"].hypothesis,
            second.tasks["valence"].hypothesis,
        )
    )

    def ccc(hyp, chosen=slice(None)):
        return score_scale(ref[chosen], hyp[chosen]).ccc

    compared = comparison.figures["ccc"]
    assert [compared.first, compared.second] == pytest.approx([ccc(hyp) for hyp in hyps])
    rng = np.random.default_rng(5)
    draws = [rng.integers(len(ref), size=len(ref)) for _ in range(2000)]
    gains = [ccc(hyps[1], draw) - ccc(hyps[0], draw) for draw in draws]
    interval = compared.second_minus_first["utterance"].interval
    expected = np.quantile(gains, [0.025, 0.975])
    assert [interval.low, interval.high] == pytest.approx(expected, abs=0.2 * np.std(gains))
    assert comparison.mcnemar is None and not comparison.only_first and not comparison.only_second


def test_the_command_compares_scales(tmp_path):
    for name, noise in (("low", 2.0), ("high", 0.5)):
        pairs = scale_system(noise, 1, unanswered=3)
        result = {"text_normalizer": {}, **score_pairs([VALENCE], pairs).to_json()}
        write_score(tmp_path / name / "decode_x/test/score/result.json", result | ABOUT, pairs)
    systems = ("--first", tmp_path / "low", "--second", tmp_path / "high", "--task", "valence")
    done = run_entry_point("compare", *systems, "--out_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    comparison = compare(VALENCE, scale_system(2.0, 1, 3), scale_system(0.5, 1, 3))
    table = comparison_table(comparison, ("low", "high"))
    assert "| CCC" in table and table in done.stdout and "McNemar" not in done.stdout
    assert "where high is furthest off" in (tmp_path / "out/comparison.html").read_text()
    assert not (tmp_path / "out/changed.jsonl").exists()


@pytest.fixture
def experiments(tmp_path):
    for name, accuracy, seed in (("low", 0.3, 1), ("high", 0.9, 2)):
        pairs = system(accuracy, seed)
        for fold, kept in (("1", range(0, NUM, 2)), ("2", range(1, NUM, 2))):
            part = pairs.select(kept)
            result = {"text_normalizer": {}, **score_pairs([EMOTION, ASR], part).to_json()}
            write_score(tmp_path / name / f"fold{fold}/decode_x/test/score/result.json", result | ABOUT, part)
    return tmp_path


def test_the_command_pools_the_folds_and_keeps_every_changed_answer(experiments):
    done = run_entry_point(
        "compare",
        "--first",
        experiments / "low",
        "--second",
        experiments / "high",
        "--folds",
        "1 2",
        "--out_dir",
        experiments / "out",
    )
    assert done.returncode == 0, done.stderr
    comparison = compare(EMOTION, system(0.3, seed=1), system(0.9, seed=2))
    assert comparison_table(comparison, ("low", "high")) in done.stdout
    markdown = (experiments / "out/COMPARISON.md").read_text()
    assert f"## Only high is right: {len(comparison.only_second)}, shown: 20" in markdown
    lines = [json.loads(line) for line in (experiments / "out/changed.jsonl").read_text().splitlines()]
    assert [line["utt_id"] for line in lines if line["right"] == "second"] == [
        comparison.second.utt_ids[i] for i in comparison.only_second
    ]
    for line in lines:
        right = line["second" if line["right"] == "second" else "first"]["emotion"]
        assert right["reference"] == right["hypothesis"] and set(right["posterior"]) == set(LABELS)


def test_a_task_that_was_not_scored_is_an_error(experiments):
    message = error_of(
        "compare",
        "--first",
        experiments / "low",
        "--second",
        experiments / "high",
        "--folds",
        "1 2",
        "--task",
        "gender",
        "--out_dir",
        experiments / "out",
    )
    assert "--task gender: decode_x/test was scored without it; it has emotion asr" in message
