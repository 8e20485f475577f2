"""Intervals are compared within Monte Carlo error. The 2.5 % quantile of R draws with deviation s strays by
sqrt(0.025 * 0.975 / R) / 0.058 * s (0.058 / s is the normal density there): 0.027 s for R = 10000, so two such
quantiles differ by 0.038 s and seldom by more than 0.15 s. The interval itself is 3.9 s wide.
"""

import math

import numpy as np
import pytest
from scipy import stats

from whisper_er.score import metrics
from whisper_er.score.bootstrap import (
    Interval,
    bootstrap_interval,
    paired_bootstrap,
    percentile_interval,
    resample_sums,
    sum_by,
    two_sided_p_value,
)

MANY = 10000
CLASSES = 4
LABELS = range(CLASSES)


def assert_close(interval: Interval, draws: np.ndarray, tolerance: float = 0.15, level: float = 0.95) -> None:
    expected = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    assert [interval.low, interval.high] == pytest.approx(expected, abs=tolerance * draws.std())


def random_pairs(n: int, seed: int, accuracy: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Reference classes, unequally frequent, and answers."""
    rng = np.random.default_rng(seed)
    ref = rng.choice(CLASSES, size=n, p=[0.1, 0.2, 0.3, 0.4])
    return ref, np.where(rng.random(n) < accuracy, ref, rng.integers(CLASSES, size=n))


def random_word_counts(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 20, size=n)
    return np.stack([rng.binomial(words, 0.2) + rng.binomial(2, 0.1, size=n), words], axis=1)


def unweighted_accuracy(sums: np.ndarray) -> np.ndarray:
    return metrics.unweighted_accuracy(sums.reshape(*sums.shape[:-1], CLASSES, CLASSES))


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Of (..., 2) counts: right, all."""
    return sums[..., 0] / sums[..., 1]


def right_and_all(correct: np.ndarray) -> np.ndarray:
    return np.stack([correct, np.ones_like(correct)], axis=1).astype(np.int64)


def ua_of_scipy(ref: np.ndarray, hyp: np.ndarray, axis: int) -> np.ndarray:
    recall = [((ref == c) & (hyp == c)).sum(axis=axis) / (ref == c).sum(axis=axis) for c in range(CLASSES)]
    return np.mean(recall, axis=0)


def scipy_draws(columns: tuple, statistic) -> np.ndarray:
    rng = np.random.default_rng(99)
    result = stats.bootstrap(columns, statistic, paired=True, n_resamples=MANY, method="percentile", rng=rng)
    return result.bootstrap_distribution


def test_interval_of_word_error_rate_is_that_of_scipy():
    counts = random_word_counts(300, 0)
    draws = scipy_draws((counts[:, 0], counts[:, 1]), lambda e, w, axis: e.sum(axis=axis) / w.sum(axis=axis))
    assert_close(bootstrap_interval(counts, metrics.word_error_rate, MANY), draws)
    assert_close(bootstrap_interval(counts, metrics.word_error_rate, MANY, level=0.8), draws, level=0.8)


def test_interval_of_unweighted_accuracy_is_that_of_scipy():
    ref, hyp = random_pairs(200, 1)
    interval = bootstrap_interval(metrics.confusion_rows(ref, hyp, LABELS), unweighted_accuracy, MANY)
    assert_close(interval, scipy_draws((ref, hyp), ua_of_scipy))


def test_interval_is_that_of_utterances_drawn_one_by_one():
    ref, hyp = random_pairs(150, 2)
    interval = bootstrap_interval(metrics.confusion_rows(ref, hyp, LABELS), unweighted_accuracy, MANY)
    rng = np.random.default_rng(11)
    drawn = [rng.choice(150, size=150) for _ in range(4000)]
    assert_close(interval, np.array([ua_of_scipy(ref[kept], hyp[kept], axis=-1) for kept in drawn]))


def test_interval_over_speakers_is_that_of_speakers_drawn_one_by_one():
    rng = np.random.default_rng(3)
    speakers = np.repeat([f"s{i}" for i in range(12)], rng.integers(5, 40, size=12))
    correct = rng.random(len(speakers)) < np.array([0.3 + 0.05 * int(name[1:]) for name in speakers])
    order = rng.permutation(len(speakers))
    speakers, correct = speakers[order], correct[order]
    interval = bootstrap_interval(sum_by(speakers, right_and_all(correct)), accuracy, MANY)
    draws = []
    for _ in range(4000):
        kept = [correct[speakers == name] for name in rng.choice(np.unique(speakers), size=12)]
        draws.append(np.concatenate(kept).mean())
    assert_close(interval, np.array(draws))


def test_sums_follow_the_law_of_the_draws():
    sums = resample_sums(np.array([[1, 7], [4, 0], [1, 7]]), num_resamples=MANY)
    assert sums.shape == (MANY, 2) and sums.dtype == np.int64
    for drawn in range(4):  # times that (4, 0) is drawn
        share = (sums == [3 + 3 * drawn, 7 * (3 - drawn)]).all(axis=1).mean()
        expected = stats.binom.pmf(drawn, 3, 1 / 3)
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / MANY))


def test_resamples_repeat_with_their_seed_and_change_with_another():
    counts = random_word_counts(50, 4)
    assert (resample_sums(counts, seed=1) == resample_sums(counts, seed=1)).all()
    assert (resample_sums(counts, seed=1) != resample_sums(counts, seed=2)).any()


def test_sum_by_adds_the_rows_of_each_unit_in_sorted_order():
    sums = sum_by(["b", "a", "b", "c", "b"], np.array([[1, 10], [2, 20], [4, 40], [8, 80], [16, 160]]))
    assert sums.tolist() == [[2, 20], [21, 210], [8, 80]]


def test_no_unit_gives_no_sum_and_undefined_intervals():
    empty = np.zeros((0, 2), dtype=np.int64)
    assert sum_by([], empty).shape == (0, 2)
    assert resample_sums(empty, num_resamples=5).tolist() == [[0, 0]] * 5
    assert all(map(math.isnan, vars(bootstrap_interval(empty, metrics.word_error_rate)).values()))
    test = paired_bootstrap(empty, empty, metrics.word_error_rate)
    assert all(map(math.isnan, (test.difference, test.p_value, test.interval.low, test.interval.high)))


def test_resamples_where_the_figure_is_undefined_are_left_out():
    assert percentile_interval(np.array([math.nan, 3, math.nan, 3])) == Interval(3, 3)
    interval = bootstrap_interval(np.array([[1, 0], [0, 5]]), metrics.word_error_rate)  # NaN, 1/5 or 0
    assert interval == Interval(0, 0.2)


def test_an_interval_of_no_error_has_no_width():
    interval = bootstrap_interval(metrics.confusion_rows([0, 1] * 9, [0, 1] * 9, LABELS), unweighted_accuracy)
    assert interval == Interval(1, 1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    truth = 0.6 + 0.4 / CLASSES  # the recall of every class: `random_pairs` answers at random in 0.4 of the cases
    intervals = [
        bootstrap_interval(metrics.confusion_rows(*random_pairs(300, seed), LABELS), unweighted_accuracy)
        for seed in range(400)
    ]
    assert 0.90 <= np.mean([one.low <= truth <= one.high for one in intervals]) <= 0.99


def test_where_speakers_differ_only_the_interval_over_speakers_covers_the_truth():
    """40 speakers with 25 utterances each; the accuracy of a speaker is Beta(2, 1), 2/3 on average."""
    covered = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        counts = right_and_all(rng.random(1000) < np.repeat(rng.beta(2, 1, size=40), 25))
        speakers = np.repeat([f"s{i:02}" for i in range(40)], 25)
        intervals = [bootstrap_interval(units, accuracy) for units in (counts, sum_by(speakers, counts))]
        covered.append([one.low <= 2 / 3 <= one.high for one in intervals])
    by_utterance, by_speaker = np.mean(covered, axis=0)
    assert by_utterance < 0.7 and 0.90 <= by_speaker <= 0.99


def test_paired_bootstrap_is_that_of_scipy():
    ref, first = random_pairs(250, 5)
    second = np.where(np.random.default_rng(6).random(250) < 0.12, ref, first)
    test = paired_bootstrap(*(metrics.confusion_rows(ref, hyp, LABELS) for hyp in (first, second)), unweighted_accuracy)

    def difference(ref, first, second, axis):
        return ua_of_scipy(ref, second, axis) - ua_of_scipy(ref, first, axis)

    assert test.difference == pytest.approx(difference(ref, first, second, axis=-1)) and test.difference > 0
    assert_close(test.interval, scipy_draws((ref, first, second), difference))


def test_paired_p_value_is_twice_the_share_of_the_resamples_of_scipy_beyond_zero():
    counts = random_word_counts(200, 7)
    second = counts.copy()
    second[:15, 0] += 1
    second[15:22, 0] -= second[15:22, 0] > 0
    draws = scipy_draws(
        (counts[:, 0], second[:, 0], counts[:, 1]), lambda a, b, w, axis: (b - a).sum(axis=axis) / w.sum(axis=axis)
    )
    share = (draws <= 0).mean()
    assert 0.01 < share < 0.1
    tolerance = 2 * 4 * math.sqrt(2 * share / MANY)  # twice the share, four deviations of a difference of two shares
    assert paired_bootstrap(counts, second, metrics.word_error_rate).p_value == pytest.approx(2 * share, abs=tolerance)


def test_a_system_does_not_differ_from_itself():
    counts = random_word_counts(100, 9)
    test = paired_bootstrap(counts, counts, metrics.word_error_rate)
    assert (test.difference, test.interval, test.p_value) == (0, Interval(0, 0), 1)


def test_the_sign_is_that_of_the_second_and_a_clear_difference_has_a_small_p_value():
    rng = np.random.default_rng(10)
    worse, better = (right_and_all(rng.random(500) < share) for share in (0.6, 0.75))
    forth, back = paired_bootstrap(worse, better, accuracy), paired_bootstrap(better, worse, accuracy)
    assert forth.difference == -back.difference > 0 and forth.interval.low > 0 > back.interval.high
    assert forth.p_value < 0.001 and back.p_value < 0.001


def test_p_value_of_equal_systems_is_about_uniform():
    p_values = []
    for seed in range(400):
        first, second = (right_and_all(row) for row in np.random.default_rng(seed).random((2, 300)) < 0.7)
        p_values.append(paired_bootstrap(first, second, accuracy, num_resamples=1000).p_value)
    for level in (0.05, 0.2, 0.5):
        tolerance = 4 * math.sqrt(level * (1 - level) / 400)  # four deviations of a share of 400
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=tolerance)


@pytest.mark.parametrize("differences, expected", [
    ([1] * 99, 2 / 100),  # never 0
    ([-1] + [1] * 8, 2 * (1 + 1) / 10),
    ([1] + [-1] * 8, 2 * (1 + 1) / 10),
    ([0, -1] + [1] * 7, 2 * (1 + 2) / 10),  # a tie is on the other side, too
    ([0] * 9, 1),  # at most 1
    ([math.nan] * 5 + [1] * 9, 2 / 10),
])  # fmt: skip
def test_p_value_by_hand(differences, expected):
    assert two_sided_p_value(np.array(differences, dtype=float)) == pytest.approx(expected)
