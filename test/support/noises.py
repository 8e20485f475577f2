"""Recordings for the tests of the demo page."""

from pathlib import Path

import numpy as np
import soundfile


def noise(path: Path, seconds: float, rate: int = 16000, channels: int = 1, loudness: float = 0.1) -> Path:
    samples = np.random.default_rng(0).normal(0, loudness, (int(seconds * rate), channels))
    soundfile.write(path, samples, rate)
    return path


def speech_and_pauses(path: Path) -> Path:
    """33 s with two utterances."""
    samples = np.random.default_rng(0).normal(0, 0.1, 33 * 8000)
    samples[4 * 8000 : 30 * 8000] = 0
    soundfile.write(path, samples, 8000)
    return path
