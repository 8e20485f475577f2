"""Augmentation of waveforms: in training, and of copies of a test set (bin/augment_dir.py).

An augmentation is a dataclass whose fields are its options, as they stand under `augment` in the configuration:

    augment:
      speed: {factors: [0.9, 1.0, 1.1]}
      reverb: {files: dump/rirs/wav.scp, share: 0.5}
      noise: {files: dump/noise/wav.scp, snr: [5, 20]}

It is called with float32 samples (S,) at 16 kHz and a random generator, and returns the changed ones. To add one: the
dataclass and a line of AUGMENTATIONS, in whose order they are applied. The generator depends on the seed, the epoch,
the utterance and its repeat in the epoch, so that a run that was stopped goes on with the same samples, whatever the
number of processes that read.
"""

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from whisper_er.audio import effects
from whisper_er.audio.reading import check_ready, load_audio, open_audio, read_samples
from whisper_er.base.errors import UserError
from whisper_er.base.settings import allow, build
from whisper_er.config import MAX_SAMPLES, SAMPLE_RATE
from whisper_er.data.kaldi import Table, read_table

# utterance id, samples, number of its repeat in the epoch, from 0 (sampling.py) -> the changed samples
Change = Callable[[str, np.ndarray, int], np.ndarray]


class Augmentation:
    """float32 (S,) at 16 kHz -> float32 samples of any length above 0."""

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def tables(self) -> dict[str, Path]:
        """Option -> table of recordings that it reads, all of them checked; they become a part of the experiment."""
        return {}


@dataclass
class Speed(Augmentation):
    """Play faster or slower, which moves the pitch as well (Ko et al., 2015).

    An utterance that would become longer than what Whisper reads stays as it is: its transcript is of all of it.
    """

    factors: list[float] = field(default_factory=lambda: [0.9, 1.0, 1.1])  # one is drawn

    def __post_init__(self) -> None:
        fine = self.factors and all(0.25 <= factor <= 4 for factor in self.factors)
        allow(fine, "factors", self.factors, "numbers from 0.25 to 4")

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        factor = float(random.choice(self.factors))
        if factor == 1 or len(samples) / factor > MAX_SAMPLES:
            return samples
        changed = soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE)
        return changed if len(changed) else samples


@dataclass
class Reverb(Augmentation):
    """Put some utterances into a room, by an impulse response that is drawn (audio/effects.py: in time, same level)."""

    files: str = ""  # a table as wav.scp, of impulse responses, 16 kHz mono
    share: float = 1.0  # of the utterances

    def __post_init__(self) -> None:
        check_given(self.files, "dump/rirs/wav.scp")
        check_share(self.share)

    def tables(self) -> dict[str, Path]:
        for name, entry in read_recordings(self.files).items():
            read_response(entry, name)
        return {"files": Path(self.files)}

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() >= self.share:
            return samples
        return effects.reverberate(samples, read_response(*draw(self.files, random)))


@dataclass
class Noise(Augmentation):
    """Add a stretch of a recording of noise, at a signal-to-noise ratio that is drawn, to some utterances."""

    files: str = ""  # a table as wav.scp, `id file` a line, of 16 kHz mono (format_data makes it)
    snr: list[float] = field(default_factory=lambda: [5.0, 20.0])  # dB, lowest and highest
    share: float = 1.0  # of the utterances

    def __post_init__(self) -> None:
        check_given(self.files, "dump/noise/wav.scp")
        fine = len(self.snr) == 2 and -100 <= self.snr[0] <= self.snr[1] <= 100
        allow(fine, "snr", self.snr, "two numbers of dB, the lower one first")
        check_share(self.share)

    def tables(self) -> dict[str, Path]:
        for name, entry in read_recordings(self.files).items():
            with open_audio(entry, name) as sound:
                check_ready(sound, entry, name)
        return {"files": Path(self.files)}

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() >= self.share:
            return samples
        noise, snr = self.interference(len(samples), random), random.uniform(*self.snr)
        power, noise_power = np.mean(samples.astype(np.float64) ** 2), np.mean(noise.astype(np.float64) ** 2)
        if not power or not noise_power:
            return samples
        return (samples + noise * np.sqrt(power / noise_power / 10 ** (snr / 10))).astype(np.float32)

    def interference(self, num_samples: int, random: np.random.Generator) -> np.ndarray:
        """float32 (num_samples,)."""
        return read_stretch(*draw(self.files, random), num_samples, random)


@dataclass
class Babble(Noise):
    """Add several recordings of speech at once, such as utterances of the training set, as Noise adds one."""

    talkers: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        allow(1 <= self.talkers <= 100, "talkers", self.talkers, "1 to 100")

    def interference(self, num_samples: int, random: np.random.Generator) -> np.ndarray:
        voices = [read_stretch(*draw(self.files, random), num_samples, random) for _ in range(self.talkers)]
        return np.sum(voices, axis=0)


@dataclass
class Telephone(Augmentation):
    """Let some utterances through a telephone: 300 to 3400 Hz."""

    mu_law: bool = False  # in 8 bits as well
    share: float = 1.0  # of the utterances

    def __post_init__(self) -> None:
        check_share(self.share)

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return samples if random.random() >= self.share else effects.telephone(samples, self.mu_law)


@dataclass
class Gain(Augmentation):
    """Turn some utterances up or down as a whole; up to where their peak is at full scale, so that nothing clips."""

    db: list[float] = field(default_factory=lambda: [-12.0, 6.0])  # dB, lowest and highest
    share: float = 1.0  # of the utterances

    def __post_init__(self) -> None:
        fine = len(self.db) == 2 and -100 <= self.db[0] <= self.db[1] <= 100
        allow(fine, "db", self.db, "two numbers of dB, the lower one first")
        check_share(self.share)

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() >= self.share:
            return samples
        factor, peak = 10 ** (random.uniform(*self.db) / 20), float(np.abs(samples).max())
        return samples * np.float32(min(factor, 1 / peak) if peak else factor)


def check_given(files: str, example: str) -> None:
    if not files:
        raise UserError(f"files is missing: give a table of recordings, such as {example}")


def check_share(share: float) -> None:
    allow(0 <= share <= 1, "share", share, "0 to 1")


@cache
def read_recordings(path: str) -> Table:
    """A table of recordings, read once; UserError where it is missing or empty."""
    recordings = read_table(Path(path))
    if not recordings:
        raise UserError(f"{path}: lists no recording; at least one is needed")
    return recordings


def draw(path: str, random: np.random.Generator) -> tuple[str, str]:
    """One of the recordings of a table: its entry and its name."""
    recordings = read_recordings(path)
    name = list(recordings)[random.integers(len(recordings))]
    return recordings[name], name


def read_response(entry: str, name: str) -> np.ndarray:
    """float32 (R,): an impulse response; UserError for a silent one."""
    response = load_audio(entry, name)
    if not response.any():
        raise UserError(f"{name}: {entry}: an impulse response of zeros alone would leave no sound; leave it out")
    return response


def read_stretch(entry: str, name: str, num_samples: int, random: np.random.Generator) -> np.ndarray:
    """float32 (num_samples,) from a random start in a recording; a shorter recording is repeated."""
    with open_audio(entry, name) as sound:
        check_ready(sound, entry, name)
        start = int(random.integers(max(1, sound.frames - num_samples + 1)))
        return np.resize(
            read_samples(sound, entry, name, start, min(start + num_samples, sound.frames))[:, 0], num_samples
        )


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "speed": Speed,
    "reverb": Reverb,
    "noise": Noise,
    "babble": Babble,
    "telephone": Telephone,
    "gain": Gain,
}


@dataclass
class Mix:
    """Lay another training utterance over some, and share their target between the labels of both (data/mixing.py)."""

    share: float = 0.5  # of the utterances
    snr: list[float] = field(default_factory=lambda: [0.0, 20.0])  # dB over the other one, lowest and highest

    def __post_init__(self) -> None:
        fine = len(self.snr) == 2 and 0 <= self.snr[0] <= self.snr[1] <= 100
        allow(
            fine, "snr", self.snr, "two numbers of dB from 0, the lower one first: the text is that of the louder one"
        )
        check_share(self.share)


# What `augment` may name in training. A mix needs labels: augment_dir has none.
IN_TRAINING = ChainMap({"mix": Mix}, AUGMENTATIONS)


def make_augmentations(chosen: dict[str, dict[str, Any]]) -> dict[str, Augmentation]:
    """In the order of AUGMENTATIONS, whatever that of the configuration: YAML files are written sorted."""
    return {
        name: build(kind, chosen[name], f"augment.{name}") for name, kind in AUGMENTATIONS.items() if name in chosen
    }


def tables_of(chosen: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """`augment.<name>.<option>` -> table that it reads. UserError for one that cannot be used."""
    return {
        f"augment.{name}.{option}": path
        for name, one in make_augmentations(chosen).items()
        for option, path in one.tables().items()
    }


def augmentation(chosen: dict[str, dict[str, Any]], seed: int) -> Callable[[int], Change | None]:
    """Epoch -> what changes its utterances, one augmentation after the other; None where none is chosen."""
    changes = list(make_augmentations(chosen).values())
    return lambda epoch: partial(augment, changes, seed, epoch) if changes else None


def augment(
    changes: list[Augmentation], seed: int, epoch: int, utt_id: str, samples: np.ndarray, repeat: int = 0
) -> np.ndarray:
    """Apply the augmentations in turn to float32 (S,)."""
    again = [256 + repeat] if repeat else []  # above the bytes of an id
    random = np.random.default_rng([seed, epoch, *utt_id.encode(), *again])
    for change in changes:
        samples = change(samples, random)
    return samples
