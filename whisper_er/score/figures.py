"""The figures of a task, a class per kind. A new figure is a function in metrics.py and a field here.

An undefined figure is None, null in JSON; so is a figure that an older result.json lacks.

Axes: N utterances, X counts, C classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whisper_er.score import calibration, metrics
from whisper_er.score.bootstrap import Statistic
from whisper_er.score.calibration import ReliabilityBin, calibrate
from whisper_er.score.figure import CountedFigures, Values, figure
from whisper_er.score.figure_parts import BINS, INTERVALS, NAMES, NUMBER, RARE_NAMES, WORDS, Part, defined
from whisper_er.score.pairing import COUNTED, Pairs, TaskPairs
from whisper_er.task import Task

NO_ANSWER = "no answer"  # no label: it has a space
ACCURACY_ONLY = ("gender", "speaker")  # tasks that the field reports by accuracy alone; result.json has all figures


def of_matrix(statistic: Statistic) -> Statistic:
    """A figure of confusion matrices (..., C, C + 1) as one of their cells (..., C * (C + 1))."""

    def of_cells(sums: np.ndarray) -> np.ndarray:
        size = math.isqrt(sums.shape[-1])
        return statistic(sums.reshape(*sums.shape[:-1], size, size + 1))

    return of_cells


@dataclass(frozen=True)
class CategoryFigures(CountedFigures):
    """recall: of each label; confusion: rows reference, columns hypothesis, both in the order of the labels, and where
    an answer is missing one more column for that; calibration: the bins of ECE, None where decoding left no posterior,
    as ECE and NLL are; all three leave out the utterances without an answer. JSD, KL and Brier are of the num_voted
    utterances that have votes and an answer, with a label or without."""

    wa: float | None = figure(
        "WA", statistic=of_matrix(metrics.weighted_accuracy), hub=("accuracy", "WA"), by_speaker=True
    )
    ua: float | None = figure(
        "UA", statistic=of_matrix(metrics.unweighted_accuracy), hub=("recall", "UA"), by_speaker=True
    )
    macro_f1: float | None = figure("F1", statistic=of_matrix(metrics.macro_f1), hub=("f1", "macro F1"))
    ece: float | None = figure("ECE", always=False)
    nll: float | None = figure("NLL", scale=1, digits=3, unit="nats", always=False)
    jsd: float | None = figure("JSD", scale=1, digits=3, unit="nats", always=False, noted=True)
    kl: float | None = figure("KL", scale=1, digits=3, unit="nats", always=False, noted=True)
    brier: float | None = figure("Brier", scale=1, digits=3, always=False, noted=True)
    num_voted: int | None = None
    calibration: tuple[ReliabilityBin, ...] | None = None
    recall: Mapping[str, float | None] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)

    PARTS = {
        "calibration": BINS, "intervals": INTERVALS, "num_scored": Part(int), "unlabelled": NAMES, "unseen": RARE_NAMES,
        "no_answer": RARE_NAMES, "recall": Part({str: NUMBER}), "labels": NAMES, "confusion": Part([[int]]),
        "num_voted": Part(int, rare=True),
    }  # fmt: skip

    @classmethod
    def columns(cls, task: Task) -> dict[str, str]:
        return {"wa": f"{task.name} accuracy"} if task.name in ACCURACY_ONLY else super().columns(task)

    @classmethod
    def counts(cls, task: Task, scored: Pairs) -> np.ndarray:
        """The cell of the confusion matrix, flat."""
        values = scored.tasks[task.name]
        return metrics.confusion_rows(values.reference, values.hypothesis, task.labels, no_answer=True)

    @property
    def answers(self) -> tuple[str, ...]:
        """The columns of the confusion matrix."""
        return (*self.labels, NO_ANSWER) if self.no_answer else self.labels

    @classmethod
    def of(cls, task: Task, pairs: Pairs) -> "CategoryFigures":
        scored = cls.scored(task, pairs)
        counts_NX = cls.counts(task, scored)
        confusion_CA = counts_NX.sum(axis=0).reshape(len(task.labels), len(task.labels) + 1)
        no_answer = unanswered(task, scored)
        return cls(
            task,
            len(scored.utt_ids),
            unlabelled(task, pairs),
            no_answer,
            cls.bootstrap(scored, counts_NX),
            **cls.of_sums(counts_NX.sum(axis=0)),
            **posterior_figures(scored.tasks[task.name]),
            **vote_figures(task, pairs.tasks[task.name]),
            recall=dict(zip(task.labels, map(defined, metrics.class_recall(confusion_CA)))),
            confusion=(confusion_CA if no_answer else confusion_CA[:, :-1]).tolist(),
            unseen=tuple(utt_id for utt_id, label in zip(pairs.utt_ids, pairs.tasks[task.name].unseen) if label),
        )


def posterior_figures(values: TaskPairs) -> dict[str, Any]:
    """ECE, NLL and the bins. Confidence is the posterior of the hypothesis; what has no answer is left out."""
    if not values.posterior:
        return {}
    values = values.select(values.answered)
    # A label that a fold's training set lacks has no posterior there: the model gave it nothing.
    of_reference = [posterior.get(ref, 0.0) for posterior, ref in zip(values.posterior, values.reference)]
    result = calibrate(values.confidence, values.correct, of_reference)
    return {"ece": defined(result.ece), "nll": defined(result.nll), "calibration": result.bins}


def vote_figures(task: Task, values: TaskPairs) -> dict[str, Any]:
    """Means of the distances from the votes to the posterior."""
    if not values.posterior or not any(values.votes):
        return {}
    values = values.select([i for i in values.answered if values.votes[i]])
    votes_NC, posterior_NC = (
        np.array([[float(row.get(label, 0)) for label in task.labels] for row in rows]).reshape(-1, len(task.labels))
        for rows in (values.votes, values.posterior)
    )
    votes_NC /= votes_NC.sum(axis=-1, keepdims=True)
    measures = {"jsd": calibration.jensen_shannon, "kl": calibration.kullback_leibler, "brier": calibration.brier}
    means = {name: metrics.mean_defined(measure(votes_NC, posterior_NC)) for name, measure in measures.items()}
    return {name: defined(float(mean)) for name, mean in means.items()} | {"num_voted": len(votes_NC)}


@dataclass(frozen=True)
class TextFigures(CountedFigures):
    """A rate per convention of text/conventions.py, by its name there; normalized, raw: the counts of the first two.
    An empty transcript is a reference like any other."""

    wer: float | None = figure("WER", statistic=metrics.word_error_rate, hub=("wer", "WER"), by_speaker=True)
    wer_raw: float | None = figure("WER raw")
    wer_lower: float | None = figure("WER lower", column=False)
    wer_marks: float | None = figure("WER marks", column=False)
    wer_published: float | None = figure("WER published", column=False)
    cer: float | None = figure("CER", column=False)
    normalized: metrics.WordErrors | None = None
    raw: metrics.WordErrors | None = None

    PARTS = {
        "intervals": INTERVALS, "num_scored": Part(int), "unlabelled": NAMES, "normalized": WORDS, "raw": WORDS,
    }  # fmt: skip

    @classmethod
    def columns(cls, task: Task) -> dict[str, str]:
        return {name: figure.title for name, figure in cls.catalogue().items()}

    @classmethod
    def scored(cls, task: Task, pairs: Pairs) -> Pairs:
        return pairs

    @classmethod
    def counts(cls, task: Task, scored: Pairs) -> np.ndarray:
        """Word errors and words, normalised."""
        values = scored.tasks[task.name]
        return metrics.word_error_rows(values.reference_normalized, values.hypothesis_normalized)

    @classmethod
    def of(cls, task: Task, pairs: Pairs) -> "TextFigures":
        values, counts_NX = pairs.tasks[task.name], cls.counts(task, pairs)
        raw = metrics.count_word_errors(values.reference, values.hypothesis)
        return cls(
            task,
            len(pairs.utt_ids),
            intervals=cls.bootstrap(pairs, counts_NX),
            **cls.of_sums(counts_NX.sum(axis=0)),
            wer_raw=defined(raw.wer),
            **convention_figures(values),
            normalized=metrics.count_word_errors(values.reference_normalized, values.hypothesis_normalized),
            raw=raw,
        )


def convention_figures(values: TaskPairs) -> Values:
    """The rates that pairing counted; none for utterances from before they were counted."""
    counts_of: dict[str, list[tuple[int, int]]] = {}
    for counts in values.word_errors:
        for name, one in counts.items():
            counts_of.setdefault(name, []).append((one["errors"], one["words"]))
    sums = {name: np.sum(counts_of.get(name, [(0, 0)]), axis=0, dtype=np.float64) for name in COUNTED}
    return {name: defined(float(metrics.word_error_rate(counts_2))) for name, counts_2 in sums.items()}


@dataclass(frozen=True)
class ScaleFigures(CountedFigures):
    """Each figure is the field of metrics.ScaleScore of its name, over the utterances that have an answer."""

    ccc: float | None = figure("CCC", scale=1, digits=3, statistic=metrics.concordance, by_speaker=True)
    mae: float | None = figure("MAE", scale=1, digits=2, by_speaker=True)

    PARTS = {"intervals": INTERVALS, "num_scored": Part(int), "unlabelled": NAMES, "no_answer": RARE_NAMES}

    @classmethod
    def scored(cls, task: Task, pairs: Pairs) -> Pairs:
        labelled = super().scored(task, pairs)
        return labelled.select(labelled.tasks[task.name].answered)

    @classmethod
    def counts(cls, task: Task, scored: Pairs) -> np.ndarray:
        """What the CCC is made of."""
        return metrics.scale_rows(*numbers(scored.tasks[task.name]))

    @classmethod
    def of_values(cls, values: TaskPairs) -> Values:
        score = metrics.score_scale(*numbers(values))
        return {name: defined(getattr(score, name)) for name in cls.catalogue()}

    @classmethod
    def of(cls, task: Task, pairs: Pairs) -> "ScaleFigures":
        scored = cls.scored(task, pairs)
        return cls(
            task,
            len(scored.utt_ids),
            unlabelled(task, pairs),
            unanswered(task, pairs),
            cls.bootstrap(scored, cls.counts(task, scored)),
            **cls.of_values(scored.tasks[task.name]),
        )

    @classmethod
    def of_speakers(cls, task: Task, scored: Pairs) -> dict[str, Values]:
        """Speaker -> every figure."""
        utterances: dict[str, list[int]] = {}
        for i, speaker in enumerate(scored.speakers):
            utterances.setdefault(speaker, []).append(i)
        values = scored.tasks[task.name]
        return {speaker: cls.of_values(values.select(positions)) for speaker, positions in utterances.items()}


def numbers(values: TaskPairs) -> tuple[list[float], list[float]]:
    """References and hypotheses of a scale."""
    return [float(value) for value in values.reference], [float(value) for value in values.hypothesis]


FIGURES = {"category": CategoryFigures, "text": TextFigures, "scale": ScaleFigures}  # by the kind of a task


def unlabelled(task: Task, pairs: Pairs) -> tuple[str, ...]:
    return tuple(utt_id for utt_id, ref in zip(pairs.utt_ids, pairs.tasks[task.name].reference) if not ref)


def unanswered(task: Task, pairs: Pairs) -> tuple[str, ...]:
    """Utterances with a label and without an answer."""
    values = pairs.tasks[task.name]
    columns = zip(pairs.utt_ids, values.reference, values.hypothesis)
    return tuple(utt_id for utt_id, ref, hyp in columns if ref and not hyp)
