"""What a figure is, and what the figures of every kind of task can do; figures.py has the kinds.

Axes: N utterances, U units (utterances or speakers), X counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from whisper_er.base.plain_files import misfit
from whisper_er.score.bootstrap import Statistic, bootstrap_interval, sum_by
from whisper_er.score.figure_parts import NUMBER, Intervals, Part, defined
from whisper_er.score.pairing import Pairs
from whisper_er.task import Task, check_task

Values = dict[str, float | None]  # figure -> value


@dataclass(frozen=True)
class Figure:
    """How a figure is shown and, where it is one of summed counts, computed.

    title:      of its column
    scale:      100 for a figure shown in percent, 1 for one shown as it is, which may have a unit
    statistic:  sums of counts (..., X) -> figure (...); it has bootstrap intervals, and two systems are compared by it
    hub:        metric type and name in the header of a model card; empty: it is not there
    always:     whether its column is there where the figure is undefined
    by_speaker: whether the table of speakers has the column
    column:     whether it is a column at all; a word error rate by one convention of several is a row
    noted:      whether a note of its own says what it is, where it is there; result.json leaves it out where not
    """

    title: str
    scale: int = 100
    digits: int = 1
    unit: str = ""
    statistic: Statistic | None = None
    hub: tuple[str, str] | tuple[()] = ()
    always: bool = True
    by_speaker: bool = False
    column: bool = True
    noted: bool = False


def figure(title: str, **about: Any) -> Any:
    """A field of type float | None."""
    return field(default=None, metadata={"figure": Figure(title, **about)})


@dataclass(frozen=True)
class Figures:
    """What all kinds have. A kind has `of(task, pairs)` and, figures by speaker, `of_speakers(task, scored)` as well.

    num_scored: utterances; unlabelled: those without a label; no_answer: labelled ones whose hypothesis has none,
    wrong for a category, left out for a scale; intervals: shares of 1, of the figures that have a statistic; unseen:
    those of the unlabelled that have a label, which training lacks (open categories only).
    """

    task: Task
    num_scored: int | None = None
    unlabelled: tuple[str, ...] = ()
    no_answer: tuple[str, ...] = ()
    intervals: Intervals = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    PARTS: ClassVar[dict[str, Part]] = {}  # what result.json has after the figures, in its order

    @classmethod
    def catalogue(cls) -> dict[str, Figure]:
        """Name -> figure in the order of the columns. All of them enter the mean over folds."""
        return {one.name: one.metadata["figure"] for one in fields(cls) if "figure" in one.metadata}

    @classmethod
    def statistics(cls) -> dict[str, Statistic]:
        return {name: figure.statistic for name, figure in cls.catalogue().items() if figure.statistic}

    @classmethod
    def columns(cls, task: Task) -> dict[str, str]:
        """Figure -> title of its column."""
        return {name: f"{task.name} {figure.title}" for name, figure in cls.catalogue().items()}

    @classmethod
    def scored(cls, task: Task, pairs: Pairs) -> Pairs:
        """The utterances that count."""
        return pairs.labelled(task.name)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.task.labels

    @property
    def values(self) -> Values:
        return {name: getattr(self, name) for name in self.catalogue()}

    def to_json(self) -> dict:
        parts = {key: (part, getattr(self, key)) for key, part in self.PARTS.items()}
        parts = {key: (part, value) for key, (part, value) in parts.items() if value or not part.rare}
        written = {key: None if value is None else part.write(value) for key, (part, value) in parts.items()}
        catalogue = self.catalogue()
        values = {key: value for key, value in self.values.items() if value is not None or not catalogue[key].noted}
        return {"kind": self.task.kind, **values, **written}

    @classmethod
    def from_json(cls, name: str, content: Mapping) -> "Figures":
        """ValueError for a value that scoring does not write."""
        shape = dict.fromkeys(cls.catalogue(), NUMBER) | {key: part.shape for key, part in cls.PARTS.items()}
        present = {key: content[key] for key in shape if content.get(key) is not None}
        if problem := misfit(present, {key: shape[key] for key in present}, f"'{name}'"):
            raise ValueError(problem)
        task = Task(name, content["kind"], tuple(present.pop("labels", ())))
        if task.kind != "scale":  # whose labels are not written
            check_task(task, "tasks")
        return cls(task, **{key: cls.PARTS[key].read(v) if key in cls.PARTS else v for key, v in present.items()})


class CountedFigures(Figures):
    """Of a kind whose figures are those of sums. It has `counts(task, scored)`: of each utterance, (N, X)."""

    @classmethod
    def of_sums(cls, sums_X: np.ndarray) -> Values:
        return {name: defined(statistic(sums_X)) for name, statistic in cls.statistics().items()}

    @classmethod
    def bootstrap(cls, scored: Pairs, counts_NX: np.ndarray) -> Intervals:
        """By resampling utterances and, which is wider, whole speakers."""
        units = {"utterance": counts_NX, "speaker": sum_by(scored.speakers, counts_NX)}
        return {
            unit: {name: bootstrap_interval(counts_UX, statistic) for name, statistic in cls.statistics().items()}
            for unit, counts_UX in units.items()
        }

    @classmethod
    def of_speakers(cls, task: Task, scored: Pairs) -> dict[str, Values]:
        """Speaker -> the figures that have a statistic."""
        sums_UX, statistics = sum_by(scored.speakers, cls.counts(task, scored)), cls.statistics()
        columns = [map(defined, statistic(sums_UX).tolist()) for statistic in statistics.values()]
        return {
            speaker: dict(zip(statistics, row)) for speaker, row in zip(sorted(set(scored.speakers)), zip(*columns))
        }
