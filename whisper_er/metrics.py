"""Every figure that is reported, defined once.

Axes: N utterances, C classes, R bootstrap resamples. A figure that is not defined (no utterance, no class, no word)
is NaN, never 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

NUM_RESAMPLES = 1000
LEVEL = 0.95


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element-wise quotient, NaN where the denominator is 0."""
    nan = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=nan, where=np.asarray(denominator) > 0)


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that are not NaN; NaN where there is none."""
    return ratio(np.nansum(values, axis=-1), np.sum(~np.isnan(values), axis=-1))


@dataclass(frozen=True)
class CategoryScore:
    """What the confusion matrix of one category task says.

    confusion: int64 (C, C), rows reference, columns hypothesis, both in the order of `labels`.
    """

    labels: tuple[str, ...]
    confusion: np.ndarray

    @property
    def num_utterances(self) -> int:
        return int(self.confusion.sum())

    @property
    def wa(self) -> float:
        """Weighted accuracy: the share of utterances that are right."""
        return float(ratio(np.trace(self.confusion), self.confusion.sum()))

    @property
    def recall(self) -> np.ndarray:
        """float (C,), NaN for a class that does not occur in the reference."""
        return ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def ua(self) -> float:
        """Unweighted accuracy (UAR): mean recall over the classes that occur in the reference."""
        return float(mean_defined(self.recall))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur in the reference or in the hypothesis."""
        size = self.confusion.sum(axis=1) + self.confusion.sum(axis=0)
        return float(mean_defined(ratio(2 * np.diag(self.confusion), size)))


def score_categories(reference: Sequence[str], hypothesis: Sequence[str], labels: Sequence[str]) -> CategoryScore:
    """Count the pairs of two label sequences of one length. KeyError: a label that is not in `labels`."""
    assert len(reference) == len(hypothesis)
    index = {label: i for i, label in enumerate(labels)}
    pair_N = [index[ref] * len(labels) + index[hyp] for ref, hyp in zip(reference, hypothesis)]
    counts = np.bincount(np.array(pair_N, dtype=np.int64), minlength=len(labels) ** 2)
    return CategoryScore(tuple(labels), counts.reshape(len(labels), len(labels)))


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class BootstrapIntervals:
    wa: Interval
    ua: Interval


def bootstrap_intervals(
    score: CategoryScore, num_resamples: int = NUM_RESAMPLES, seed: int = 0, level: float = LEVEL
) -> BootstrapIntervals:
    """Percentile intervals of WA and UA over resampled utterances.

    N utterances drawn with replacement fall into the cells of the confusion matrix by a multinomial law, so the
    cells are drawn instead of the utterances. UA of a resample averages the classes that occur in it.
    """
    row, column = np.nonzero(score.confusion)
    if not len(row):
        undefined = Interval(math.nan, math.nan)
        return BootstrapIntervals(undefined, undefined)
    total = score.num_utterances
    draws = np.random.default_rng(seed).multinomial(total, score.confusion[row, column] / total, size=num_resamples)
    in_class = np.eye(len(score.labels), dtype=np.int64)[row]
    hits_RC = (draws * (row == column)) @ in_class
    wa_R = hits_RC.sum(axis=1) / total
    ua_R = mean_defined(ratio(hits_RC, draws @ in_class))
    return BootstrapIntervals(percentile_interval(wa_R, level), percentile_interval(ua_R, level))


def percentile_interval(values: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class McNemar:
    """Utterances that only one of two systems has right, and the two-sided exact p-value of that split."""

    only_first: int
    only_second: int
    p_value: float


def exact_mcnemar(first_correct: Sequence[bool], second_correct: Sequence[bool]) -> McNemar:
    """Exact McNemar test of two systems on the same utterances in the same order: binomial(n, 1/2), two-sided."""
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    assert first.shape == second.shape
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**n))


@dataclass(frozen=True)
class WordErrors:
    """Word counts over all utterances. The error rate is of the sums, not a mean of rates.

    empty_references:    utterances whose reference has no word.
    insertions_on_empty: words of their hypotheses; they are part of `insertions`.
    """

    hits: int
    substitutions: int
    deletions: int
    insertions: int
    empty_references: int
    insertions_on_empty: int

    @property
    def reference_words(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def wer(self) -> float:
        errors = self.substitutions + self.deletions + self.insertions
        return errors / self.reference_words if self.reference_words else math.nan


def count_word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> WordErrors:
    """Align each hypothesis with its reference, words split at white space and compared as they are."""
    assert len(reference) == len(hypothesis)
    if not reference:
        return WordErrors(0, 0, 0, 0, 0, 0)
    counts = jiwer.process_words(list(reference), list(hypothesis))
    on_empty = [len(hyp.split()) for ref, hyp in zip(reference, hypothesis) if not ref.split()]
    return WordErrors(
        counts.hits, counts.substitutions, counts.deletions, counts.insertions, len(on_empty), sum(on_empty)
    )


@dataclass(frozen=True)
class ScaleScore:
    """ccc: concordance correlation coefficient; mae: mean absolute error in the unit of the scale."""

    ccc: float
    mae: float


def score_scale(reference: Sequence[float], hypothesis: Sequence[float]) -> ScaleScore:
    """CCC (Lin, 1989) with population moments, and MAE. CCC of two equal constants is not defined."""
    ref, hyp = np.asarray(reference, dtype=np.float64), np.asarray(hypothesis, dtype=np.float64)
    assert ref.shape == hyp.shape
    if not ref.size:
        return ScaleScore(math.nan, math.nan)
    ref, hyp = ref - ref[0], hyp - ref[0]  # so that the variance of a constant is exactly 0
    covariance = np.mean((ref - ref.mean()) * (hyp - hyp.mean()))
    spread = ref.var() + hyp.var() + (ref.mean() - hyp.mean()) ** 2
    return ScaleScore(float(ratio(2 * covariance, spread)), float(np.mean(np.abs(ref - hyp))))
