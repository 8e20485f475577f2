"""Figures per speaker. Without intervals, so that a corpus of thousands of speakers takes no longer than one of ten.

Axes: U speakers, X counts.
"""

from collections.abc import Sequence

import numpy as np

from whisper_er.report.rows import ACCURACY_ONLY, Column
from whisper_er.score import metrics
from whisper_er.score.bootstrap import sum_by
from whisper_er.score.pairing import Pairs
from whisper_er.score.scoring import category_counts, defined, text_counts
from whisper_er.task import Task


def speaker_rows(tasks: Sequence[Task], pairs: Pairs) -> list[list[str]]:
    """A heading, and a row per speaker in sorted order."""
    names, counts = np.unique(np.asarray(pairs.speakers, dtype=str), return_counts=True)
    columns = {"utterances": list(map(str, counts.tolist()))}
    for task in tasks:
        for column, by_speaker in speaker_figures(task, pairs).items():
            columns[column.title] = [
                column.show({task.name: {column.figure: by_speaker.get(name)}}) for name in names.tolist()
            ]
    return [["speaker", *columns], *(list(row) for row in zip(names.tolist(), *columns.values()))]


def speaker_figures(task: Task, pairs: Pairs) -> dict[Column, dict[str, float | None]]:
    """Column -> speaker -> figure; a speaker of whom nothing is labelled is left out."""
    if task.kind == "scale":
        return scale_figures(task, pairs)
    if task.kind == "text":
        columns = [Column("WER", task.name, "wer")]
    elif task.name in ACCURACY_ONLY:
        columns = [Column(f"{task.name} accuracy", task.name, "wa")]
    else:
        columns = [Column(f"{task.name} WA", task.name, "wa"), Column(f"{task.name} UA", task.name, "ua")]
    scored = pairs.labelled(task.name) if task.kind == "category" else pairs
    if not scored.utt_ids:
        return {column: {} for column in columns}
    rows_NX, statistics = (category_counts if task.kind == "category" else text_counts)(task, scored)
    sums_UX, speakers = sum_by(scored.speakers, rows_NX), sorted(set(scored.speakers))
    return {
        column: dict(zip(speakers, map(defined, statistics[column.figure](sums_UX).tolist()))) for column in columns
    }


def scale_figures(task: Task, pairs: Pairs) -> dict[Column, dict[str, float | None]]:
    scored = pairs.labelled(task.name)
    columns = {
        Column(f"{task.name} CCC", task.name, "ccc", 1, 3): {},
        Column(f"{task.name} MAE", task.name, "mae", 1, 2): {},
    }
    members: dict[str, list[int]] = {}
    for i, speaker in enumerate(scored.speakers):
        members.setdefault(speaker, []).append(i)
    for speaker, kept in members.items():
        values = scored.tasks[task.name].select(kept)
        score = metrics.score_scale(
            [float(value) for value in values.reference], [float(value) for value in values.hypothesis]
        )
        for column, by_speaker in columns.items():
            by_speaker[speaker] = defined(getattr(score, column.figure))
    return columns
