"""Split a recording at its pauses: levels of its frames (audio/loudness.py) -> utterances.

Energy alone: it finds silence, not speech, so that music or steady noise is taken for an utterance. Axis: N frames.
"""

import numpy as np

from whisper_er.audio.loudness import CLICK, SILENT, to_frames, top_level

DIGITAL = -100.0  # dB: below it nothing was recorded; such stretches say nothing about the noise
SHARE = 0.4  # of the way from the noise floor to the loudest frames, above which it is speech
RANGE = 6.0  # dB, least distance between them; below it no pauses can be told
DEPTH = 40.0  # dB below the loudest frames; what is quieter is no speech, however quiet the noise
PAUSE = 0.5  # seconds of silence that end an utterance; closures and breaths within one are shorter
# Seconds of silence kept on either side: consonants begin below the threshold. egs/mini_emo's model, which is trained
# on files without any, finds 93 % of their emotions, and when they stand in a row and are split, 85 % (0.2 s: 78 %).
MARGIN = 0.1


def utterances(level_N: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """(start, end) of each utterance, in order and apart; none is longer than `longest`, all in frames.

    Split at pauses; what is longer than `longest` without one is cut where it is quietest. Empty where all is silent.
    """
    spans = stretches(level_N)
    smooth_N = np.convolve(level_N, np.full(20, 1 / 20), mode="same")
    spans = widen(spans, to_frames(MARGIN), len(level_N))
    return [part for span in spans for part in cut_long(span, smooth_N, longest)]


def stretches(level_N: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) in frames of what is spoken between the pauses, without any margin."""
    speech_N = is_speech(level_N)
    spans = join(runs(speech_N), to_frames(PAUSE))
    return [span for span in spans if speech_N[slice(*span)].sum() >= to_frames(CLICK)]


def is_speech(level_N: np.ndarray) -> np.ndarray:
    """bool (N,), by a threshold between the noise floor and the loudest frames."""
    top = top_level(level_N)
    if top < SILENT:
        return np.zeros(len(level_N), dtype=bool)
    floor = np.percentile(level_N[level_N > DIGITAL], 3)
    threshold = floor + SHARE * (top - floor) if top - floor >= RANGE else DIGITAL
    return level_N > max(threshold, top - DEPTH)


def runs(inside_N: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside_N.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def join(spans: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Spans, of which those less than `gap` frames apart are joined."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < gap:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def widen(spans: list[tuple[int, int]], margin: int, length: int) -> list[tuple[int, int]]:
    """Each span with `margin` frames more on both sides, at most half of the gap to its neighbour."""
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), length]
    before = [min(margin, (start - end) // 2 if i else start) for i, (start, end) in enumerate(zip(starts, ends))]
    after = [*before[1:-1], min(margin, length - ends[-1])]
    return [(start - left, end + right) for (start, end), left, right in zip(spans, before, after)]


def cut_long(span: tuple[int, int], level_N: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Cut a span into parts of at most `longest` frames, the last of at least a quarter: each cut is at the quietest
    frame in the second half of the longest part allowed."""
    start, end = span
    parts = []
    while end - start > longest:
        first, last = start + longest // 2, min(start + longest, end - longest // 4)
        cut = first + int(level_N[first:last].argmin())
        parts.append((start, cut))
        start = cut
    return [*parts, (start, end)]
