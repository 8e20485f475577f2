"""How loud a sound is, frame by frame, and whether it is silent. Axis: N frames of 10 ms."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

FRAMES_PER_SECOND = 100
FLOOR = 1e-6  # amplitude of the quietest level, -120 dB
# dB relative to full scale: where no more than a click is louder, nobody speaks. Speech whose peak is at -45 dB lies
# above it in all of EmoDB's and RAVDESS' utterances; as published, the quietest of RAVDESS reaches -58 dB.
SILENT = -70.0
CLICK = 0.1  # seconds; shorter loud stretches are no speech
# Of the polynomial that each frame is judged without. It takes with it any offset, its drift, and hum: 69 dB of one at
# 50 Hz, 59 at 60 Hz, 35 at 100 Hz. Above 250 Hz, where telephones carry speech, it takes 2 dB at most.
DEGREE = 5


def frame_size(rate: int) -> int:
    """Samples in a frame; at a rate such as 11025 Hz a little less than 10 ms."""
    return rate // FRAMES_PER_SECOND


def levels(samples: np.ndarray, frame: int) -> np.ndarray:
    """RMS of each frame of `frame` samples, less its polynomial, in dB below full scale, float32 (N,).

    samples: floats in [-1, 1]. Each frame is judged by itself, the last one may be shorter.
    """
    whole = len(samples) // frame * frame
    power_N = residual_power(samples[:whole].reshape(-1, frame))
    if whole < len(samples):
        power_N = np.append(power_N, residual_power(samples[None, whole:]))
    return 20 * np.log10(np.sqrt(power_N) + FLOOR).astype(np.float32)


def residual_power(frames_NS: np.ndarray) -> np.ndarray:
    """float64 (N,): mean square of each frame of S samples about the polynomial that fits it best."""
    frames_NS = frames_NS.astype(np.float64)
    fitted_ND = frames_NS @ polynomials(frames_NS.shape[1])
    return ((frames_NS**2).sum(axis=1) - (fitted_ND**2).sum(axis=1)).clip(0) / frames_NS.shape[1]


@lru_cache(maxsize=16)
def polynomials(size: int) -> np.ndarray:
    """float64 (size, D): orthonormal polynomials up to DEGREE, in its columns."""
    return np.linalg.qr(np.vander(np.linspace(-1, 1, size), DEGREE + 1))[0]


def top_level(level_N: np.ndarray) -> float:
    """The level of the loudest frames, without what may be a click; of a sound shorter than one, the loudest level."""
    click = to_frames(CLICK)
    return float(np.sort(level_N)[-click] if len(level_N) >= click else level_N.max())


def is_silent(blocks: Iterable[np.ndarray], rate: int) -> bool:
    """Whether a sound is silent; blocks: floats in [-1, 1], (samples,), asked for until they turn out not to be."""
    click = to_frames(CLICK)
    loudest_N = np.empty(0, dtype=np.float32)
    for block in blocks:
        loudest_N = np.sort(np.append(loudest_N, levels(block, frame_size(rate))))[-click:]
        if len(loudest_N) == click and loudest_N[0] >= SILENT:
            return False
    return top_level(loudest_N) < SILENT


def to_frames(length: float) -> int:
    """Number of frames in a length in seconds."""
    return round(length * FRAMES_PER_SECOND)
