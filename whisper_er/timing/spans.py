"""What has a start and an end: a word, a stretch with one label; and the windows that labels over time are of.

Cells cover an utterance; the label of a cell is that of the audio in a window around it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

WINDOW = 2.0  # seconds
Cell = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class Word:
    """A word with its punctuation; in a script without spaces between words, the characters of a token are one.

    start, end: seconds.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Span:
    """A stretch with one label. start, end: seconds; probability: of the label, the mean over its seconds."""

    start: float
    end: float
    label: str
    probability: float


def every(seconds: float, start: float, end: float) -> list[Cell]:
    """Cells of this length; what is left at the end, at most half of one more, belongs to the last."""
    number = max(1, round((end - start) / seconds))
    starts = [start + index * seconds for index in range(number)]
    return list(zip(starts, [*starts[1:], end]))


def window_around(cell: Cell, seconds: float, start: float, end: float) -> Cell:
    """The window of this length around a cell, or of the cell's if that is longer; within the utterance, of which it
    is the whole where that is shorter."""
    length = min(max(seconds, cell[1] - cell[0]), end - start)
    first = min(max((cell[0] + cell[1] - length) / 2, start), end - length)
    return first, first + length


def merge(spans: Iterable[Span], gap: float) -> list[Span]:
    """Spans in order; those of one label are one where less than `gap` seconds lie between them."""
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].label == span.label and span.start - merged[-1].end < gap:
            span = joined(merged.pop(), span)
        merged.append(span)
    return merged


def joined(first: Span, second: Span) -> Span:
    lengths = [span.end - span.start for span in (first, second)]
    shares = [length / sum(lengths) if sum(lengths) else 0.5 for length in lengths]
    probability = shares[0] * first.probability + shares[1] * second.probability
    return replace(first, end=second.end, probability=probability)


def overlapping(spans: Sequence[Span]) -> tuple[Span, Span] | None:
    """Two spans, in order of their starts, of which the second begins before the first ends; None: there are none."""
    ordered = sorted(spans, key=lambda span: (span.start, span.end))
    return next((pair for pair in zip(ordered, ordered[1:]) if pair[1].start < pair[0].end), None)
