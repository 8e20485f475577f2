"""Results of a recognizer: of each utterance of a recording, and of the recording as a whole."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from whisper_er.base.errors import UserError
from whisper_er.task import Task
from whisper_er.timing.spans import Span, Word

Probabilities = dict[str, float]  # label -> probability; of a scale the labels are its bins' centres


@dataclass(frozen=True)
class Segment:
    """One utterance.

    start, end:    seconds from the beginning of the recording.
    text:          transcript; "" where the model has none.
    labels:        category task -> label.
    scales:        scale task -> expectation over its bins.
    probabilities: category or scale task -> its labels' probabilities, in the order of the token list.
    warnings:      what is doubtful about the text: it was cut, it repeats itself.
    words:         when each word was spoken; None where nobody asked.
    emotions:      the main task's labels over time, neighbours of one label merged; None where nobody asked.
    """

    start: float
    end: float
    text: str
    labels: dict[str, str]
    scales: dict[str, float]
    probabilities: dict[str, Probabilities]
    warnings: tuple[str, ...] = ()
    words: tuple[Word, ...] | None = None
    emotions: tuple[Span, ...] | None = None


@dataclass(frozen=True)
class Recognition:
    """A recording: `segments` in order, and their combined result, each weighed by its length.

    name:     the file as it was given; "audio" for samples.
    duration: seconds, silence included.
    Of one segment text, labels, scales and probabilities are the segment's own. Of several, probabilities and scales
    are the means over the seconds spoken, and a label is the most probable one. Of none (silence) all are empty.
    """

    name: str
    duration: float
    text: str
    labels: dict[str, str]
    scales: dict[str, float]
    probabilities: dict[str, Probabilities]
    segments: tuple[Segment, ...]

    @property
    def emotion(self) -> str:
        """The label of the task `emotion`; "" for silence. UserError if the model has no such task."""
        if self.segments and "emotion" not in self.labels:
            raise UserError(f"{self.name}: the model has no task 'emotion'; it has: {' '.join(self.probabilities)}")
        return self.labels.get("emotion", "")

    @property
    def warnings(self) -> list[str]:
        """Those of the segments, with the time of each."""
        return [
            f"{clock(segment.start, 1)} to {clock(segment.end, 1)}: {warning}"
            for segment in self.segments
            for warning in segment.warnings
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; of a segment without what nobody asked for."""
        values = asdict(self)
        for segment in values["segments"]:
            for name in ("words", "emotions"):
                if segment[name] is None:
                    del segment[name]
        return values


def combine(name: str, duration: float, segments: Iterable[Segment], tasks: Iterable[Task]) -> Recognition:
    """The Recognition of a recording with these segments. duration: seconds."""
    segments = tuple(segments)
    if len(segments) == 1:
        (own,) = segments
        return Recognition(name, duration, own.text, own.labels, own.scales, own.probabilities, segments)
    spoken = sum(segment.end - segment.start for segment in segments)
    labels, scales, probabilities = {}, {}, {}
    for task in tasks if segments else ():
        if task.kind == "text":
            continue
        probabilities[task.name] = {
            label: sum((s.end - s.start) * s.probabilities[task.name][label] for s in segments) / spoken
            for label in task.labels
        }
        if task.kind == "scale":
            scales[task.name] = sum((s.end - s.start) * s.scales[task.name] for s in segments) / spoken
        else:
            labels[task.name] = max(task.labels, key=probabilities[task.name].__getitem__)
    text = " ".join(segment.text for segment in segments if segment.text)
    return Recognition(name, duration, text, labels, scales, probabilities, segments)


def clock(seconds: float, digits: int = 0) -> str:
    """1:02:03 or 2:03, with `digits` decimals."""
    units = round(seconds * 10**digits)
    whole, fraction = divmod(units, 10**digits)
    hours, minutes, rest_seconds = whole // 3600, whole // 60 % 60, whole % 60
    decimals = f".{fraction:0{digits}d}" if digits else ""
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest_seconds:02d}{decimals}"
