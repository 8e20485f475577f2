import math
from itertools import product

import jiwer
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, recall_score

from whisper_er.metrics import (
    bootstrap_intervals,
    count_word_errors,
    exact_mcnemar,
    score_categories,
    score_scale,
)

LABELS = ("angry", "happy", "neutral", "sad")


def random_pairs(n: int, seed: int, labels=LABELS) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    ref = rng.choice(labels, size=n, p=np.arange(1, len(labels) + 1) / sum(range(len(labels) + 1)))
    hyp = np.where(rng.random(n) < 0.6, ref, rng.choice(labels, size=n))
    return ref.tolist(), hyp.tolist()


def test_wa_ua_f1_recall_and_confusion_by_hand():
    score = score_categories(list("aaabbc"), list("aabbbb"), list("abcd"))
    assert score.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert score.wa == pytest.approx(4 / 6)
    assert score.recall[:3] == pytest.approx([2 / 3, 1, 0]) and math.isnan(score.recall[3])
    assert score.ua == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert score.macro_f1 == pytest.approx((4 / 5 + 4 / 6 + 0) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_category_figures_are_those_of_scikit_learn(seed):
    ref, hyp = random_pairs(200, seed)
    score = score_categories(ref, hyp, LABELS)
    assert score.wa == pytest.approx(accuracy_score(ref, hyp))
    assert score.ua == pytest.approx(balanced_accuracy_score(ref, hyp))
    assert score.macro_f1 == pytest.approx(f1_score(ref, hyp, average="macro"))
    assert score.recall == pytest.approx(recall_score(ref, hyp, labels=list(LABELS), average=None))
    assert (score.confusion == confusion_matrix(ref, hyp, labels=list(LABELS))).all()


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_class_that_is_only_answered_counts_in_f1_but_not_in_ua():
    ref, hyp = ["angry", "angry", "happy"], ["angry", "sad", "happy"]
    score = score_categories(ref, hyp, LABELS)
    assert score.ua == pytest.approx(balanced_accuracy_score(ref, hyp)) == 0.75
    assert score.macro_f1 == pytest.approx(f1_score(ref, hyp, average="macro")) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_no_utterance_gives_undefined_figures():
    score = score_categories([], [], LABELS)
    interval = bootstrap_intervals(score)
    assert all(map(math.isnan, (score.wa, score.ua, score.macro_f1, interval.wa.low, interval.ua.high)))


def test_bootstrap_intervals_are_those_of_resampled_utterances():
    ref, hyp = random_pairs(150, 3)
    interval = bootstrap_intervals(score_categories(ref, hyp, LABELS), num_resamples=4000)
    rng, ref, hyp = np.random.default_rng(11), np.array(ref), np.array(hyp)
    draws = [rng.integers(0, len(ref), len(ref)) for _ in range(1000)]
    wa = np.quantile([accuracy_score(ref[d], hyp[d]) for d in draws], [0.025, 0.975])
    ua = np.quantile([balanced_accuracy_score(ref[d], hyp[d]) for d in draws], [0.025, 0.975])
    assert [interval.wa.low, interval.wa.high] == pytest.approx(wa, abs=0.015)
    assert [interval.ua.low, interval.ua.high] == pytest.approx(ua, abs=0.015)


def test_bootstrap_wa_is_the_binomial_quantile():
    score = score_categories(["a"] * 100, ["a"] * 70 + ["b"] * 30, ["a", "b"])
    interval = bootstrap_intervals(score, num_resamples=20000)
    assert [interval.wa.low, interval.wa.high] == pytest.approx([0.61, 0.79], abs=0.0101)  # binomial(100, 0.7)


def test_bootstrap_repeats_with_its_seed_and_changes_with_another():
    score = score_categories(*random_pairs(97, 0), LABELS)
    assert bootstrap_intervals(score, seed=1) == bootstrap_intervals(score, seed=1)
    assert bootstrap_intervals(score, seed=1) != bootstrap_intervals(score, seed=2)


def test_bootstrap_of_no_error_has_no_width():
    interval = bootstrap_intervals(score_categories(["a", "b"] * 9, ["a", "b"] * 9, ["a", "b"]))
    assert (interval.wa.low, interval.wa.high, interval.ua.low, interval.ua.high) == (1, 1, 1, 1)


@pytest.mark.parametrize("only_first, only_second", [(0, 0), (0, 1), (1, 1), (5, 1), (3, 8), (0, 6), (6, 6)])
def test_mcnemar_is_the_count_of_all_splits_at_least_as_uneven(only_first, only_second):
    n = only_first + only_second
    uneven = abs(only_first - only_second)
    splits = [abs(2 * sum(coins) - n) >= uneven for coins in product((0, 1), repeat=n)]
    first = [True] * only_first + [False] * only_second + [True, False]
    second = [False] * only_first + [True] * only_second + [True, False]
    test = exact_mcnemar(first, second)
    assert (test.only_first, test.only_second) == (only_first, only_second)
    assert test.p_value == pytest.approx(sum(splits) / len(splits))


def test_mcnemar_of_thousands_of_differences_is_a_number():
    test = exact_mcnemar([True] * 2600 + [False] * 2400, [False] * 2600 + [True] * 2400)
    assert test.p_value == pytest.approx(math.erfc((200 - 1) / math.sqrt(5000) / math.sqrt(2)), rel=0.01)  # normal


def test_word_errors_by_hand():
    errors = count_word_errors(["a b c", "", "d"], ["a x c y", "p q", ""])
    assert (errors.hits, errors.substitutions, errors.deletions, errors.insertions) == (2, 1, 1, 3)
    assert (errors.empty_references, errors.insertions_on_empty, errors.reference_words) == (1, 2, 4)
    assert errors.wer == 5 / 4


def test_word_error_rate_is_that_of_jiwer():
    rng = np.random.default_rng(0)
    ref = [" ".join(rng.choice(list("abcde"), size=rng.integers(1, 9))) for _ in range(50)]
    hyp = [" ".join(rng.choice(list("abcde"), size=rng.integers(0, 9))) for _ in range(50)]
    assert count_word_errors(ref, hyp).wer == pytest.approx(jiwer.wer(ref, hyp))


@pytest.mark.parametrize("reference", [[], ["", ""]])
def test_word_error_rate_without_a_reference_word_is_undefined(reference):
    errors = count_word_errors(reference, ["x"] * len(reference))
    assert math.isnan(errors.wer) and errors.insertions == errors.insertions_on_empty == len(reference)


def test_ccc_and_mae_by_hand():
    score = score_scale([1, 2, 3], [2, 2, 5])
    # means 2, 3; covariance 1; variances 2/3, 2
    assert score.ccc == pytest.approx(2 * 1 / (2 / 3 + 2 + 1)) and score.mae == pytest.approx((1 + 0 + 2) / 3)


def test_ccc_is_pearsons_coefficient_where_mean_and_variance_agree():
    ref = np.random.default_rng(1).normal(3, 1, 60)
    hyp = np.random.default_rng(2).permutation(ref)
    assert score_scale(ref, hyp).ccc == pytest.approx(np.corrcoef(ref, hyp)[0, 1])
    assert score_scale(ref, ref).ccc == pytest.approx(1) and score_scale(ref, 2 * ref.mean() - ref).ccc < -0.99


def test_ccc_of_constants():
    assert math.isnan(score_scale([0.1] * 3, [0.1] * 3).ccc) and score_scale([0.1] * 3, [0.3] * 3).ccc == 0
    assert math.isnan(score_scale([], []).ccc) and math.isnan(score_scale([], []).mae)
