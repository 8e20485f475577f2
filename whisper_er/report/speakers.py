"""Figures per speaker. Without intervals, so that a corpus of thousands of speakers takes no longer than one of ten."""

from collections.abc import Sequence

import numpy as np

from whisper_er.report.rows import number
from whisper_er.score.figures import FIGURES
from whisper_er.score.pairing import Pairs
from whisper_er.task import Task


def speaker_rows(tasks: Sequence[Task], pairs: Pairs) -> list[list[str]]:
    """A heading, and a row per speaker in sorted order."""
    speakers, counts = np.unique(np.asarray(pairs.speakers, dtype=str), return_counts=True)
    columns = {"utterances": list(map(str, counts.tolist()))}
    for task in tasks:
        columns |= task_columns(task, pairs, speakers.tolist())
    return [["speaker", *columns], *(list(row) for row in zip(speakers.tolist(), *columns.values()))]


def task_columns(task: Task, pairs: Pairs, speakers: Sequence[str]) -> dict[str, list[str]]:
    """Title -> cells; the figures of a speaker of whom nothing is labelled are undefined."""
    kind = FIGURES[task.kind]
    catalogue, values = kind.catalogue(), kind.of_speakers(task, kind.scored(task, pairs))
    return {
        title: [
            number(values.get(speaker, {}).get(name), catalogue[name].scale, catalogue[name].digits)
            for speaker in speakers
        ]
        for name, title in kind.columns(task).items()
        if catalogue[name].by_speaker
    }
