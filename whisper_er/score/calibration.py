"""Whether posteriors mean what they say, and how far they are from the votes of annotators.

Axes: N utterances, B bins of confidence, C labels. A figure that is not defined (no utterance) is NaN, never 0.
votes_NC: shares of the votes; posterior_NC: probabilities; what compares them gives a float (N,).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisper_er.score.metrics import ratio

SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class ReliabilityBin:
    """Utterances with low < confidence <= high (the first bin has 0 too); mean confidence and share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """ece: expected calibration error; nll: mean negative log-likelihood of the reference, in nats."""

    ece: float
    nll: float
    num_bins: int
    bins: tuple[ReliabilityBin, ...]


def calibrate(
    confidence: Sequence[float],
    correct: Sequence[bool],
    probability_of_reference: Sequence[float],
    num_bins: int = 15,
) -> Calibration:
    """ECE (Guo et al., 2017, sec. 2) over bins of equal width, and NLL.

    confidence:               per utterance the posterior of the label that was said; correct: whether it is right.
    probability_of_reference: the posterior of the right label; taken as 1e-12 where it is less, so NLL stays finite.
    """
    confidence_N, correct_N = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    reference_N = np.asarray(probability_of_reference, dtype=np.float64)
    assert confidence_N.shape == correct_N.shape == reference_N.shape
    bins = reliability_bins(confidence_N, correct_N, num_bins)
    gaps = [one.count * abs(one.accuracy - one.confidence) for one in bins if one.count]
    surprise_N = -np.log(np.maximum(reference_N, SMALLEST_PROBABILITY))
    ece, nll = ratio(np.array([sum(gaps), surprise_N.sum()]), np.full(2, confidence_N.size))
    return Calibration(float(ece), float(nll), num_bins, bins)


def reliability_bins(confidence_N: np.ndarray, correct_N: np.ndarray, num_bins: int) -> tuple[ReliabilityBin, ...]:
    """What a reliability diagram shows: per bin the mean confidence and the accuracy, NaN where it is empty."""
    edges = np.arange(num_bins + 1) / num_bins
    bin_N = np.searchsorted(edges[1:-1], confidence_N, side="left")  # how many inner edges lie below
    count_B = np.bincount(bin_N, minlength=num_bins)
    confidence_B = ratio(np.bincount(bin_N, confidence_N, num_bins), count_B)
    accuracy_B = ratio(np.bincount(bin_N, correct_N, num_bins), count_B)
    columns = (edges[:-1], edges[1:], count_B, confidence_B, accuracy_B)
    return tuple(ReliabilityBin(*row) for row in zip(*(column.tolist() for column in columns)))


def kullback_leibler(votes_NC: np.ndarray, posterior_NC: np.ndarray) -> np.ndarray:
    """KL(votes || posterior), nats; a posterior is taken as 1e-12 where it is less, so that it stays finite."""
    surprise_NC = np.log(np.maximum(votes_NC, SMALLEST_PROBABILITY) / np.maximum(posterior_NC, SMALLEST_PROBABILITY))
    return (votes_NC * surprise_NC).sum(axis=-1)  # a label without votes adds 0


def jensen_shannon(votes_NC: np.ndarray, posterior_NC: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence (Lin, 1991), nats: from 0 to log 2."""
    middle_NC = (votes_NC + posterior_NC) / 2
    return (kullback_leibler(votes_NC, middle_NC) + kullback_leibler(posterior_NC, middle_NC)) / 2


def brier(votes_NC: np.ndarray, posterior_NC: np.ndarray) -> np.ndarray:
    """Sum over the labels of the squared difference (Brier, 1950): from 0 to 2."""
    return ((votes_NC - posterior_NC) ** 2).sum(axis=-1)
