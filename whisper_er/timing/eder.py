"""Emotion Diarization Error Rate (EDER): the share of the time that has the wrong emotion (Wang et al., 2023, "Speech
Emotion Diarization: Which Emotion Appears When?", arXiv 2306.12991)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

from whisper_er.timing.spans import Span

NEUTRAL = ("neutral", "n")  # labels that are no emotion


@dataclass(frozen=True)
class DiarizationErrors:
    """Seconds of each kind of error, and of the recordings; each second counts once.

    false_alarm: an emotion where there is none; missed: none where there is one; confusion: another one;
    overlap: the right one, and another beside it.
    """

    false_alarm: float
    missed: float
    confusion: float
    overlap: float
    duration: float

    @property
    def rate(self) -> float:
        """EDER; nan without any duration."""
        errors = self.false_alarm + self.missed + self.confusion + self.overlap
        return errors / self.duration if self.duration else float("nan")


def count_errors(
    reference: Sequence[Span], hypothesis: Sequence[Span], duration: float, neutral: Collection[str] = NEUTRAL
) -> DiarizationErrors:
    """The errors in a recording of so many seconds. The spans of the reference do not overlap; time in no span is as
    neutral."""
    seconds = {"false_alarm": 0.0, "missed": 0.0, "confusion": 0.0, "overlap": 0.0}
    edges = {edge for span in (*reference, *hypothesis) for edge in (span.start, span.end)}
    for start, end in pairwise(sorted({0.0, duration} | {edge for edge in edges if 0 < edge < duration})):
        true, found = (emotions(spans, start, end, neutral) for spans in (reference, hypothesis))
        if found != true:
            seconds[kind(true, found)] += end - start
    return DiarizationErrors(**seconds, duration=duration)


def emotions(spans: Iterable[Span], start: float, end: float, neutral: Collection[str]) -> set[str]:
    return {span.label for span in spans if span.start < end and span.end > start and span.label not in neutral}


def kind(true: set[str], found: set[str]) -> str:
    """Of an error: what the reference has, none or one, and what was found."""
    if not true:
        return "false_alarm"
    if not found:
        return "missed"
    return "overlap" if true < found else "confusion"


def pooled(errors: Iterable[DiarizationErrors]) -> DiarizationErrors:
    """The sum over recordings."""
    return DiarizationErrors(*map(sum, zip(*map(astuple, errors))))
