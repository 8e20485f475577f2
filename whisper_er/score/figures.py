"""The figures of a task, a class per kind. A new figure is a function in metrics.py and a field here.

An undefined figure is None, null in JSON; so is a figure that an older result.json lacks.

Axes: N utterances, X counts, C classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whisper_er.score import metrics
from whisper_er.score.bootstrap import Statistic
from whisper_er.score.calibration import ReliabilityBin, calibrate
from whisper_er.score.figure import CountedFigures, Figures, Values, figure
from whisper_er.score.figure_parts import BINS, INTERVALS, NAMES, NUMBER, WORDS, Part, defined
from whisper_er.score.pairing import Pairs, TaskPairs
from whisper_er.task import Task

ACCURACY_ONLY = ("gender", "speaker")  # tasks that the field reports by accuracy alone; result.json has all figures


def of_matrix(statistic: Statistic) -> Statistic:
    """A figure of confusion matrices (..., C, C) as one of their cells (..., C * C)."""

    def of_cells(sums: np.ndarray) -> np.ndarray:
        size = math.isqrt(sums.shape[-1])
        return statistic(sums.reshape(*sums.shape[:-1], size, size))

    return of_cells


@dataclass(frozen=True)
class CategoryFigures(CountedFigures):
    """recall: of each label; confusion: rows reference, columns hypothesis, both in the order of the labels;
    calibration: the bins of ECE, None where decoding left no posterior, as ECE and NLL are."""

    wa: float | None = figure(
        "WA", statistic=of_matrix(metrics.weighted_accuracy), hub=("accuracy", "WA"), by_speaker=True
    )
    ua: float | None = figure(
        "UA", statistic=of_matrix(metrics.unweighted_accuracy), hub=("recall", "UA"), by_speaker=True
    )
    macro_f1: float | None = figure("F1", statistic=of_matrix(metrics.macro_f1), hub=("f1", "macro F1"))
    ece: float | None = figure("ECE", always=False)
    nll: float | None = figure("NLL", scale=1, digits=3, unit="nats", always=False)
    calibration: tuple[ReliabilityBin, ...] | None = None
    recall: Mapping[str, float | None] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)

    PARTS = {
        "calibration": BINS, "intervals": INTERVALS, "num_scored": Part(int), "unlabelled": NAMES, "unseen": NAMES,
        "recall": Part({str: NUMBER}), "labels": NAMES, "confusion": Part([[int]]),
    }  # fmt: skip

    @classmethod
    def columns(cls, task: Task) -> dict[str, str]:
        return {"wa": f"{task.name} accuracy"} if task.name in ACCURACY_ONLY else super().columns(task)

    @classmethod
    def counts(cls, task: Task, scored: Pairs) -> np.ndarray:
        """The cell of the confusion matrix, flat."""
        values = scored.tasks[task.name]
        return metrics.confusion_rows(values.reference, values.hypothesis, task.labels)

    @classmethod
    def of(cls, task: Task, pairs: Pairs) -> "CategoryFigures":
        scored = cls.scored(task, pairs)
        counts_NX = cls.counts(task, scored)
        confusion_CC = counts_NX.sum(axis=0).reshape(len(task.labels), len(task.labels))
        return cls(
            task,
            len(scored.utt_ids),
            unlabelled(task, pairs),
            cls.bootstrap(scored, counts_NX),
            **cls.of_sums(counts_NX.sum(axis=0)),
            **posterior_figures(scored.tasks[task.name]),
            recall=dict(zip(task.labels, map(defined, metrics.class_recall(confusion_CC)))),
            confusion=confusion_CC.tolist(),
            unseen=tuple(utt_id for utt_id, label in zip(pairs.utt_ids, pairs.tasks[task.name].unseen) if label),
        )

    def to_json(self) -> dict:
        """With `unseen` only where there are such utterances."""
        content = super().to_json()
        return content if self.unseen else {key: value for key, value in content.items() if key != "unseen"}


def posterior_figures(values: TaskPairs) -> dict[str, Any]:
    """ECE, NLL and the bins. Confidence is the posterior of the hypothesis."""
    if not values.posterior:
        return {}
    confidence = [posterior[hyp] for posterior, hyp in zip(values.posterior, values.hypothesis)]
    # A label that a fold's training set lacks has no posterior there: the model gave it nothing.
    of_reference = [posterior.get(ref, 0.0) for posterior, ref in zip(values.posterior, values.reference)]
    result = calibrate(confidence, values.correct, of_reference)
    return {"ece": defined(result.ece), "nll": defined(result.nll), "calibration": result.bins}


@dataclass(frozen=True)
class TextFigures(CountedFigures):
    """normalized, raw: the counts of WER and of WER raw. An empty transcript is a reference like any other."""

    wer: float | None = figure("WER", statistic=metrics.word_error_rate, hub=("wer", "WER"), by_speaker=True)
    wer_raw: float | None = figure("WER raw")
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
            normalized=metrics.count_word_errors(values.reference_normalized, values.hypothesis_normalized),
            raw=raw,
        )


@dataclass(frozen=True)
class ScaleFigures(Figures):
    """Each figure is the field of metrics.ScaleScore of its name."""

    ccc: float | None = figure("CCC", scale=1, digits=3, by_speaker=True)
    mae: float | None = figure("MAE", scale=1, digits=2, by_speaker=True)

    PARTS = {"num_scored": Part(int), "unlabelled": NAMES}

    @classmethod
    def of_values(cls, values: TaskPairs) -> Values:
        reference, hypothesis = ([float(value) for value in side] for side in (values.reference, values.hypothesis))
        score = metrics.score_scale(reference, hypothesis)
        return {name: defined(getattr(score, name)) for name in cls.catalogue()}

    @classmethod
    def of(cls, task: Task, pairs: Pairs) -> "ScaleFigures":
        scored = cls.scored(task, pairs)
        return cls(task, len(scored.utt_ids), unlabelled(task, pairs), **cls.of_values(scored.tasks[task.name]))

    @classmethod
    def of_speakers(cls, task: Task, scored: Pairs) -> dict[str, Values]:
        """Speaker -> every figure."""
        utterances: dict[str, list[int]] = {}
        for i, speaker in enumerate(scored.speakers):
            utterances.setdefault(speaker, []).append(i)
        values = scored.tasks[task.name]
        return {speaker: cls.of_values(values.select(positions)) for speaker, positions in utterances.items()}


FIGURES = {"category": CategoryFigures, "text": TextFigures, "scale": ScaleFigures}  # by the kind of a task


def unlabelled(task: Task, pairs: Pairs) -> tuple[str, ...]:
    return tuple(utt_id for utt_id, ref in zip(pairs.utt_ids, pairs.tasks[task.name].reference) if not ref)
