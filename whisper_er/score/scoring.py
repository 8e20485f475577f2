"""Figures of paired utterances, and how they are kept.

    result.json       figures per task and group, ids of unlabelled utterances, how the hypotheses came about
    utterances.jsonl  beside it: reference and hypothesis of every utterance; folds are pooled from it
A figure that is not defined is null.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.score import metrics
from whisper_er.score.bootstrap import Statistic, bootstrap_interval, sum_by
from whisper_er.score.calibration import calibrate
from whisper_er.score.pairing import Pairs, to_lines
from whisper_er.task import Task

UTTERANCES = "utterances.jsonl"


def choose_tasks(listed: Sequence[Task], names: Sequence[str]) -> list[Task]:
    """The tasks of a token list by name, in the order of the names."""
    by_name = {task.name: task for task in listed}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        what = f"the token list has no task '{unknown[0]}'" if unknown else "no task is named"
        raise UserError(f"--tasks: {what}; allowed: {' '.join(by_name)}")
    return [by_name[name] for name in names]


def score_pairs(tasks: Sequence[Task], pairs: Pairs) -> dict:
    """Figures of every task, for all utterances and for those of each value of each group, as result.json has them."""
    result = score_tasks(tasks, pairs)
    groups = {}
    for name, column in pairs.groups.items():
        members = {value: [i for i, own in enumerate(column) if own == value] for value in sorted(set(column))}
        groups[name] = {value: score_tasks(tasks, pairs.select(kept)) for value, kept in members.items()}
    return result | {"groups": groups}


def score_tasks(tasks: Iterable[Task], pairs: Pairs) -> dict:
    score_kind = {"category": category_figures, "text": text_figures, "scale": scale_figures}
    figures = {task.name: {"kind": task.kind, **score_kind[task.kind](task, pairs)} for task in tasks}
    return {"num_utterances": len(pairs.utt_ids), "num_speakers": len(set(pairs.speakers)), "tasks": figures}


def category_figures(task: Task, pairs: Pairs) -> dict:
    scored = pairs.labelled(task.name)
    reference, hypothesis = scored.tasks[task.name].reference, scored.tasks[task.name].hypothesis
    score = metrics.score_categories(reference, hypothesis, task.labels)
    return {
        "wa": defined(score.wa),
        "ua": defined(score.ua),
        "macro_f1": defined(score.macro_f1),
        **calibration_figures(task, scored),
        "intervals": intervals(scored.speakers, *category_counts(task, scored)),
        **unlabelled(task, pairs),
        "recall": dict(zip(score.labels, map(defined, score.recall))),
        "labels": list(score.labels),
        "confusion": score.confusion.tolist(),
    }


def category_counts(task: Task, scored: Pairs) -> tuple[np.ndarray, dict[str, Statistic]]:
    """Per utterance its cell of the confusion matrix, flat, and the figures of sums of such cells."""
    size = len(task.labels)

    def of_matrix(figure: Statistic) -> Statistic:
        return lambda sums: figure(sums.reshape(*sums.shape[:-1], size, size))

    values = scored.tasks[task.name]
    rows = metrics.confusion_rows(values.reference, values.hypothesis, task.labels)
    return rows, {
        "wa": of_matrix(metrics.weighted_accuracy),
        "ua": of_matrix(metrics.unweighted_accuracy),
        "macro_f1": of_matrix(metrics.macro_f1),
    }


def calibration_figures(task: Task, scored: Pairs) -> dict:
    """ECE and NLL of the posteriors; null where decoding left none. Confidence is that of the label that was said."""
    values = scored.tasks[task.name]
    if not values.posterior:
        return {"ece": None, "nll": None, "calibration": None}
    confidence = [posterior[hyp] for posterior, hyp in zip(values.posterior, values.hypothesis)]
    # A label that a fold's training set lacks has no posterior there: the model gave it nothing.
    of_reference = [posterior.get(ref, 0.0) for posterior, ref in zip(values.posterior, values.reference)]
    result = asdict(calibrate(confidence, values.correct, of_reference))
    ece, nll = defined(result.pop("ece")), defined(result.pop("nll"))
    bins = [{key: defined(value) for key, value in one.items()} for one in result["bins"]]
    return {"ece": ece, "nll": nll, "calibration": {**result, "bins": bins}}


def text_figures(task: Task, pairs: Pairs) -> dict:
    """An empty transcript is a reference like any other: no utterance is left out."""
    values = pairs.tasks[task.name]
    normalized = metrics.count_word_errors(values.reference_normalized, values.hypothesis_normalized)
    raw = metrics.count_word_errors(values.reference, values.hypothesis)
    return {
        "wer": defined(normalized.wer),
        "wer_raw": defined(raw.wer),
        "intervals": intervals(pairs.speakers, *text_counts(task, pairs)),
        "num_scored": len(pairs.utt_ids),
        "unlabelled": [],
        "normalized": vars(normalized) | {"reference_words": normalized.reference_words},
        "raw": vars(raw) | {"reference_words": raw.reference_words},
    }


def text_counts(task: Task, scored: Pairs) -> tuple[np.ndarray, dict[str, Statistic]]:
    """Per utterance its word errors and words, normalised."""
    values = scored.tasks[task.name]
    rows = metrics.word_error_rows(values.reference_normalized, values.hypothesis_normalized)
    return rows, {"wer": metrics.word_error_rate}


def intervals(speakers: Sequence[str], counts_NX: np.ndarray, figures: dict[str, Statistic]) -> dict:
    """Bootstrap intervals of each figure, resampling utterances and, which is wider, whole speakers."""
    units = {"utterance": counts_NX, "speaker": sum_by(speakers, counts_NX)}
    return {
        unit: {
            name: [defined(bound) for bound in vars(bootstrap_interval(counts_UX, figure)).values()]
            for name, figure in figures.items()
        }
        for unit, counts_UX in units.items()
    }


def scale_figures(task: Task, pairs: Pairs) -> dict:
    scored = pairs.labelled(task.name).tasks[task.name]
    score = metrics.score_scale(
        [float(value) for value in scored.reference], [float(value) for value in scored.hypothesis]
    )
    return {"ccc": defined(score.ccc), "mae": defined(score.mae), **unlabelled(task, pairs)}


def unlabelled(task: Task, pairs: Pairs) -> dict:
    names = [utt_id for utt_id, ref in zip(pairs.utt_ids, pairs.tasks[task.name].reference) if not ref]
    return {"num_scored": len(pairs.utt_ids) - len(names), "unlabelled": names}


def defined(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def write_score(result_path: Path, result: Mapping, pairs: Pairs) -> None:
    """Write result.json and utterances.jsonl beside it; the result comes last, so that it vouches for both."""
    result_path.parent.mkdir(parents=True, exist_ok=True)
    write_text(result_path.with_name(UTTERANCES), to_lines(pairs))
    write_text(result_path, to_json(result))


def to_json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
