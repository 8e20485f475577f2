"""Two systems on the same utterances: whether one task's figures differ, and which answers changed hands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisper_er.base.errors import UserError, first_few
from whisper_er.score.bootstrap import PairedBootstrap, paired_bootstrap, sum_by
from whisper_er.score.figure import Figure
from whisper_er.score.figures import FIGURES
from whisper_er.score.pairing import Pairs
from whisper_er.task import Task

UNITS = ("utterance", "speaker")  # what the bootstrap draws


@dataclass(frozen=True)
class FigureComparison:
    """One figure of both systems, shares of 1. second_minus_first: unit that is resampled -> paired bootstrap."""

    figure: Figure
    first: float
    second: float
    second_minus_first: dict[str, PairedBootstrap]


@dataclass(frozen=True)
class McNemar:
    """Utterances that only one of two systems has right, and the two-sided exact p-value of that split."""

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """One task. first and second: the labelled utterances in one order; a text is right if it has no word error, and a
    scale is neither right nor wrong: its mcnemar is None, and no utterance is right for one system only."""

    task: Task
    first: Pairs
    second: Pairs
    figures: dict[str, FigureComparison]
    mcnemar: McNemar | None

    @property
    def only_first(self) -> list[int]:
        """Positions of the utterances that only the first system has right."""
        return self.where(True, False)

    @property
    def only_second(self) -> list[int]:
        return self.where(False, True)

    def where(self, *correct: bool) -> list[int]:
        if not self.mcnemar:
            return []
        both = zip(*(pairs.tasks[self.task.name].correct for pairs in (self.first, self.second)))
        return [i for i, pair in enumerate(both) if pair == correct]


def compare(task: Task, first: Pairs, second: Pairs) -> Comparison:
    """Compare two systems on a task; on a scale, by the utterances that both have an answer for.

    UserError: other utterances or references in one of them.
    """
    kind = FIGURES[task.kind]
    first, second = (kind.scored(task, pairs) for pairs in align(task.name, first, second))
    first, second = first.among(second.utt_ids), second.among(first.utt_ids)
    first_NX, second_NX = kind.counts(task, first), kind.counts(task, second)
    counts = {
        "utterance": (first_NX, second_NX),
        "speaker": (sum_by(first.speakers, first_NX), sum_by(first.speakers, second_NX)),
    }
    figures = {
        name: FigureComparison(
            kind.catalogue()[name],
            float(statistic(first_NX.sum(axis=0))),
            float(statistic(second_NX.sum(axis=0))),
            {unit: paired_bootstrap(*counts[unit], statistic) for unit in UNITS},
        )
        for name, statistic in kind.statistics().items()
    }
    mcnemar = None
    if task.kind != "scale":
        mcnemar = exact_mcnemar(first.tasks[task.name].correct, second.tasks[task.name].correct)
    return Comparison(task, first, second, figures, mcnemar)


def align(task: str, first: Pairs, second: Pairs) -> tuple[Pairs, Pairs]:
    """Both in the order of their sorted ids, which must be the same, and so must the references."""
    differing = sorted(set(first.utt_ids) ^ set(second.utt_ids))
    if differing:
        raise UserError(f"only one of the two systems was tested on {first_few(differing)}; compare the same folds")
    first, second = (
        pairs.select(sorted(range(len(pairs.utt_ids)), key=pairs.utt_ids.__getitem__)) for pairs in (first, second)
    )
    references = zip(first.utt_ids, first.tasks[task].reference, second.tasks[task].reference)
    differing = [utt_id for utt_id, of_first, of_second in references if of_first != of_second]
    if differing:
        raise UserError(
            f"the two systems were scored against other references of {task}: {first_few(differing)}; "
            "score both with the same data directory"
        )
    return first, second


def exact_mcnemar(first_correct: Sequence[bool], second_correct: Sequence[bool]) -> McNemar:
    """Exact McNemar test of two systems on the same utterances in the same order: binomial(n, 1/2), two-sided."""
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    assert first.shape == second.shape
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**n))
