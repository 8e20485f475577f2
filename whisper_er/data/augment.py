"""Augmentation of waveforms, in training only.

An augmentation is a dataclass whose fields are its options, as they stand under `augment` in the configuration:

    augment:
      speed: {factors: [0.9, 1.0, 1.1]}
      noise: {files: dump/noise/wav.scp, snr: [5, 20]}

It is called with float32 samples (S,) at 16 kHz and a random generator, and returns the changed ones. To add one: the
dataclass and a line of AUGMENTATIONS. The generator depends on the seed, the epoch and the utterance alone, so that a
run that was stopped goes on with the same samples, whatever the number of processes that read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr

from whisper_er.base.errors import UserError
from whisper_er.config import MAX_SAMPLES, SAMPLE_RATE, allow, build
from whisper_er.data.audio import check_ready, open_audio, read_samples
from whisper_er.data.kaldi import Table, read_table

Change = Callable[[str, np.ndarray], np.ndarray]  # utterance id and samples -> the changed samples


class Augmentation(Protocol):
    """float32 (S,) at 16 kHz -> float32 samples of any length above 0."""

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray: ...


@dataclass
class Speed:
    """Play faster or slower, which moves the pitch as well (Ko et al., 2015).

    An utterance that would become longer than what Whisper reads stays as it is: its transcript is of all of it.
    """

    factors: list[float] = field(default_factory=lambda: [0.9, 1.0, 1.1])  # one is drawn

    def __post_init__(self) -> None:
        fine = self.factors and all(0.25 <= factor <= 4 for factor in self.factors)
        allow(fine, "augment.speed.factors", self.factors, "numbers from 0.25 to 4")

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        factor = float(random.choice(self.factors))
        if factor == 1 or len(samples) / factor > MAX_SAMPLES:
            return samples
        changed = soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE)
        return changed if len(changed) else samples


@dataclass
class Noise:
    """Add a stretch of a recording of noise, at a signal-to-noise ratio that is drawn, to some utterances."""

    files: str = ""  # a table as wav.scp, `id file` a line, of 16 kHz mono (format_data makes it)
    snr: list[float] = field(default_factory=lambda: [5.0, 20.0])  # dB, lowest and highest
    share: float = 1.0  # of the utterances

    def __post_init__(self) -> None:
        if not self.files:
            raise UserError("augment.noise.files is missing: give a table of recordings, such as dump/noise/wav.scp")
        fine = len(self.snr) == 2 and -100 <= self.snr[0] <= self.snr[1] <= 100
        allow(fine, "augment.noise.snr", self.snr, "two numbers of dB, the lower one first")
        allow(0 <= self.share <= 1, "augment.noise.share", self.share, "0 to 1")

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() >= self.share:
            return samples
        recordings = read_noises(self.files)
        name = list(recordings)[random.integers(len(recordings))]
        noise, snr = read_stretch(recordings[name], name, len(samples), random), random.uniform(*self.snr)
        power, noise_power = np.mean(samples.astype(np.float64) ** 2), np.mean(noise.astype(np.float64) ** 2)
        if not power or not noise_power:
            return samples
        return (samples + noise * np.sqrt(power / noise_power / 10 ** (snr / 10))).astype(np.float32)


def recordings_of(chosen: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """Name of the option -> table of recordings that it names. UserError for one that cannot be used."""
    tables = {f"augment.{name}.files": options["files"] for name, options in chosen.items() if "files" in options}
    for path in tables.values():
        read_noises(path)
    return {name: Path(path) for name, path in tables.items()}


@cache
def read_noises(path: str) -> Table:
    """The table of noise recordings, read once; UserError where it is missing or empty."""
    recordings = read_table(Path(path))
    if not recordings:
        raise UserError(f"{path}: lists no recording; augment.noise.files needs at least one")
    return recordings


def read_stretch(entry: str, name: str, num_samples: int, random: np.random.Generator) -> np.ndarray:
    """float32 (num_samples,) from a random start in a recording; a shorter recording is repeated."""
    with open_audio(entry, name) as sound:
        check_ready(sound, entry, name)
        start = int(random.integers(max(1, sound.frames - num_samples + 1)))
        return np.resize(
            read_samples(sound, entry, name, start, min(start + num_samples, sound.frames))[:, 0], num_samples
        )


AUGMENTATIONS: dict[str, type[Augmentation]] = {"speed": Speed, "noise": Noise}


def augmentation(chosen: dict[str, dict[str, Any]], seed: int) -> Callable[[int], Change | None]:
    """Epoch -> the Change of its utterances, all chosen augmentations in turn; None where none is chosen."""
    changes = [build(AUGMENTATIONS[name], options, f"augment.{name}") for name, options in chosen.items()]
    return lambda epoch: partial(augment, changes, seed, epoch) if changes else None


def augment(changes: list[Augmentation], seed: int, epoch: int, utt_id: str, samples: np.ndarray) -> np.ndarray:
    """Apply the augmentations in turn to float32 (S,)."""
    random = np.random.default_rng([seed, epoch, *utt_id.encode()])
    for change in changes:
        samples = change(samples, random)
    return samples
