import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from whisper_er.score.calibration import calibrate


def random_posteriors(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float (N, 4) posteriors that are sharper than the labels int (N,) drawn from them deserve."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.ones(4), size=n)
    labels = (honest.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return honest**2 / (honest**2).sum(axis=1, keepdims=True), labels


def calibrate_posteriors(posteriors: np.ndarray, labels: np.ndarray, **options):
    of_reference = posteriors[np.arange(len(labels)), labels]
    return calibrate(posteriors.max(axis=1), posteriors.argmax(axis=1) == labels, of_reference, **options)


def ece_in_a_loop(confidence: np.ndarray, correct: np.ndarray, num_bins: int) -> float:
    error = 0.0
    for b in range(num_bins):
        inside = [i for i, c in enumerate(confidence) if b / num_bins < c <= (b + 1) / num_bins]
        if inside:
            gap = np.mean(correct[inside]) - np.mean(confidence[inside])
            error += len(inside) / len(confidence) * abs(gap)
    return error


@pytest.mark.parametrize("num_bins", [1, 4, 15, 100])
def test_ece_is_that_of_a_loop_over_bins_and_nll_that_of_scikit_learn(num_bins):
    posteriors, labels = random_posteriors(500, num_bins)
    result = calibrate_posteriors(posteriors, labels, num_bins=num_bins)
    correct = posteriors.argmax(axis=1) == labels
    assert result.ece == pytest.approx(ece_in_a_loop(posteriors.max(axis=1), correct, num_bins))
    assert result.nll == pytest.approx(log_loss(labels, posteriors, labels=range(4)))
    assert result.num_bins == len(result.bins) == num_bins


def test_bins_hold_what_lies_in_them_and_an_empty_one_is_undefined():
    posteriors, labels = random_posteriors(60, 1)
    confidence, correct = posteriors.max(axis=1), posteriors.argmax(axis=1) == labels
    for one in calibrate_posteriors(posteriors, labels).bins:
        inside = (confidence > one.low) & (confidence <= one.high)
        assert one.count == inside.sum()
        expected = [confidence[inside].mean(), correct[inside].mean()] if one.count else [math.nan] * 2
        assert [one.confidence, one.accuracy] == pytest.approx(expected, nan_ok=True)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_and_0_to_the_first():
    tenths = [0, *(tenth / 10 for tenth in range(1, 11))]
    result = calibrate(tenths, [True] * 11, [1] * 11, num_bins=10)
    assert [one.count for one in result.bins] == [2] + [1] * 9
    assert [one.high for one in result.bins] == tenths[1:] and [one.low for one in result.bins] == tenths[:-1]


def test_a_posterior_that_rounding_lifts_above_1_counts_in_the_last_bin():
    assert calibrate([1 + 1e-7], [True], [1]).bins[-1].count == 1


def test_ece_is_the_gap_of_a_system_that_is_always_as_sure():
    assert calibrate([0.9] * 10, [True] * 6 + [False] * 4, [0.5] * 10).ece == pytest.approx(0.3)  # too sure
    assert calibrate([0.5] * 10, [True] * 6 + [False] * 4, [0.5] * 10).ece == pytest.approx(0.1)  # not sure enough


def test_ece_of_honest_posteriors_vanishes_with_many_utterances():
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.25, 1, 100_000)
    correct = rng.random(100_000) < confidence
    # 12 bins of the 15 are used, each with an error of at most sqrt(0.25 / 8333) = 0.0055
    assert calibrate(confidence, correct, confidence).ece < 0.006 < calibrate(confidence**0.8, correct, confidence).ece


def test_nll_of_an_impossible_reference_is_finite():
    assert calibrate([1], [False], [0]).nll == pytest.approx(-math.log(1e-12))
    assert calibrate([1], [False], [1e-11]).nll == pytest.approx(-math.log(1e-11))


def test_no_utterance_gives_undefined_figures():
    result = calibrate([], [], [])
    assert math.isnan(result.ece) and math.isnan(result.nll)
    assert [one.count for one in result.bins] == [0] * 15
