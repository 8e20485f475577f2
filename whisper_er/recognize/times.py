"""What is found of an utterance beside its labels, if asked for: when its words were spoken, its emotion over time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from whisper_er.audio.loudness import FRAMES_PER_SECOND, frame_size, levels
from whisper_er.base.errors import UserError
from whisper_er.config import SAMPLE_RATE, DecodeConfig
from whisper_er.data.collate import unlabelled
from whisper_er.data.plan import by_length
from whisper_er.models.base import Predictor
from whisper_er.process.device import autocast
from whisper_er.recognize.pauses import PAUSE, stretches
from whisper_er.recognize.result import Segment
from whisper_er.task import TEXT_TASK, Prediction, main_task
from whisper_er.timing.spans import WINDOW, Span, Word, every, merge, window_around
from whisper_er.timing.words import apart, check_words, find_words

SHORTEST, LONGEST = 0.1, 30.0  # seconds, of a cell and of a window

Stretches = list[tuple[float, float]]  # of speech, in seconds


@dataclass(frozen=True)
class Times:
    """What is found of every utterance.

    words:         the seconds of each word.
    emotion_every: seconds between the labels of the main task; 0: none.
    emotion_words: a label of the main task for each word instead; the words are found as well.
    window:        seconds of audio around each label, which the model recognises as it does an utterance.
    """

    words: bool = False
    emotion_every: float = 0.0
    emotion_words: bool = False
    window: float = WINDOW

    @property
    def need_words(self) -> bool:
        return self.words or self.emotion_words

    @property
    def need_emotions(self) -> bool:
        return self.emotion_words or self.emotion_every != 0

    def check(self, model: Predictor) -> None:
        """UserError for what the model cannot do, or nobody can."""
        if self.need_words:
            check_words(model)
        if not self.need_emotions:
            return
        for name, seconds in (("emotion_every", self.emotion_every or SHORTEST), ("emotion_window", self.window)):
            if not SHORTEST <= seconds <= LONGEST:
                raise UserError(f"{name}={seconds:g}: allowed are {SHORTEST:g} to {LONGEST:g} s")
        if (task := main_task(model.tokenizer.tasks)).kind != "category":
            raise UserError(f"emotion_every: '{task.name}' is a {task.kind}; only a category has labels over time")


class Recognizing(Protocol):
    """What is needed of the Recognizer."""

    model: Predictor
    device: torch.device
    decoding: DecodeConfig

    def recognize(self, waves: Sequence[np.ndarray]) -> list[Prediction]: ...


def with_times(
    times: Times, recognizer: Recognizing, segments: Sequence[Segment], waves: Sequence[np.ndarray]
) -> list[Segment]:
    """The segments with their words and emotions. waves: float32 (samples,) of each, 16 kHz mono."""
    found = list(segments)
    if not (times.need_words or times.need_emotions):
        return found
    speech = [spoken(segment.start, wave) for segment, wave in zip(segments, waves)]
    if times.need_words:
        found = with_words(recognizer, found, waves, speech)
    if times.need_emotions:
        found = with_emotions(times, recognizer, found, waves, speech)
    return found


def spoken(start: float, wave: np.ndarray) -> Stretches:
    """Stretches of speech in an utterance that starts at this second of its recording."""
    found = stretches(levels(wave, frame_size(SAMPLE_RATE)))
    return [(start + first / FRAMES_PER_SECOND, start + last / FRAMES_PER_SECOND) for first, last in found]


def with_words(
    recognizer: Recognizing, segments: Sequence[Segment], waves: Sequence[np.ndarray], speech: Sequence[Stretches]
) -> list[Segment]:
    model, decoding, found = recognizer.model, recognizer.decoding, list(segments)
    for indices in by_length(np.array([len(wave) for wave in waves]), decoding.batch_size):
        batch = unlabelled([waves[i] for i in indices], model.tokenizer, model.max_target).to(recognizer.device)
        with autocast(recognizer.device, decoding.dtype):
            words = find_words(model, batch, [values(segments[i]) for i in indices], decoding.lang)
        for i, own in zip(indices, words):
            shifted = [Word(segments[i].start + word.start, segments[i].start + word.end, word.text) for word in own]
            found[i] = replace(segments[i], words=apart(shifted, speech[i]))
    return found


def values(segment: Segment) -> dict[str, str]:
    """The answers as a Prediction has them."""
    scales = {task: str(value) for task, value in segment.scales.items()}
    return {TEXT_TASK: segment.text} | segment.labels | scales


def with_emotions(
    times: Times,
    recognizer: Recognizing,
    segments: Sequence[Segment],
    waves: Sequence[np.ndarray],
    speech: Sequence[Stretches],
) -> list[Segment]:
    """Each cell is labelled by the audio of its window; one in which nobody speaks has no label."""
    task, cells, windows = main_task(recognizer.model.tokenizer.tasks), [], []
    for index, (segment, stretch) in enumerate(zip(segments, speech)):
        if times.emotion_words:
            own = [(word.start, word.end) for word in segment.words or ()]
        else:
            own = every(times.emotion_every, segment.start, segment.end)
        for cell in own:
            if any(start < cell[1] and end > cell[0] for start, end in stretch):
                window = window_around(cell, times.window, segment.start, segment.end)
                first, last = (round((second - segment.start) * SAMPLE_RATE) for second in window)
                cells.append((index, cell))
                windows.append(waves[index][first:last])
    spans: list[list[Span]] = [[] for _ in segments]
    for (index, (start, end)), found in zip(cells, recognizer.recognize(windows)):
        label = found.values[task.name]
        spans[index].append(Span(start, end, label, found.posteriors[task.name][task.labels.index(label)]))
    return [replace(segment, emotions=tuple(merge(own, PAUSE))) for segment, own in zip(segments, spans)]
