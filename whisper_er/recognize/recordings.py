"""A recording of any format, rate, channels and length, as a file or as samples -> utterances at 16 kHz, mono."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from whisper_er.audio.channels import FAR_BELOW, ChannelPower, mix_down, pick
from whisper_er.audio.loudness import frame_size, levels
from whisper_er.audio.reading import (
    MAX_RATE,
    MIN_RATE,
    check_range,
    open_audio,
    read_samples,
    resample,
)
from whisper_er.base.errors import UserError
from whisper_er.config import MAX_SECONDS
from whisper_er.recognize import pauses

LONGEST = 15.0  # seconds of an utterance of a recording that is split: 99 of 100 of IEMOCAP's are shorter
BLOCK = 60  # seconds that are in memory at a time while pauses are looked for

Split = Literal["auto", "always", "never"]
Span = tuple[int, int]  # start and end, in samples at a sound's own rate


class Sound(Protocol):
    """The samples of a recording. rate in Hz; num_samples counts each channel once."""

    @property
    def rate(self) -> int: ...

    @property
    def num_samples(self) -> int: ...

    def read(self, spans: Iterable[Span], power: ChannelPower | None = None) -> Iterator[np.ndarray]:
        """float32 (samples,), mono, at `rate`, of each span; UserError where it cannot be read. power: is added to."""
        ...

    def whole(self) -> "Samples":
        """All of it at once."""
        ...


@dataclass(frozen=True)
class SoundFile:
    """A file that libsndfile reads. channel: the only one that is used; None: the mean of all."""

    path: Path
    rate: int
    num_samples: int
    channel: int | None = None

    @staticmethod
    def open(path: Path) -> "SoundFile | Samples":
        """Read the header only; of a file that cannot seek, all samples."""
        with open_audio(str(path), path.name) as sound:
            if not sound.seekable():
                return Samples.mixed(read_samples(sound, str(path), path.name), sound.samplerate, str(path))
            return SoundFile(path, sound.samplerate, sound.frames)

    def read(self, spans: Iterable[Span], power: ChannelPower | None = None) -> Iterator[np.ndarray]:
        with open_audio(str(self.path), self.path.name) as sound:
            for start, end in spans:
                samples = read_samples(sound, str(self.path), self.path.name, start, end)
                if power:
                    power.add(samples)
                yield pick(samples, self.channel)

    def whole(self) -> "Samples":
        with open_audio(str(self.path), self.path.name) as sound:
            return Samples.mixed(read_samples(sound, str(self.path), self.path.name), self.rate, str(self.path))


@dataclass(frozen=True)
class Samples:
    """A recording in memory: float32 (samples,), mono."""

    samples: np.ndarray
    rate: int

    @staticmethod
    def check(samples: np.ndarray, rate: int | None) -> "Samples":
        """Of floats in [-1, 1] or integers of at most 16 bits, (samples,) or (samples, channels); else UserError.

        Wider integers may hold 16-bit values or fill their range: nobody but the caller knows.
        """
        if not isinstance(rate, int | np.integer) or not MIN_RATE <= rate <= MAX_RATE:
            raise UserError(
                f"sampling_rate={rate!r}: samples need theirs in Hz, whole; allowed are {MIN_RATE} to {MAX_RATE}"
            )
        if samples.ndim not in (1, 2) or not samples.size or samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
            raise UserError(f"audio: an array of shape {samples.shape}; allowed are (samples,) and (samples, channels)")
        if samples.dtype.kind == "i" and samples.dtype.itemsize <= 2:
            samples = samples / -float(np.iinfo(samples.dtype).min)
        elif samples.dtype.kind != "f":
            raise UserError(
                f"audio: an array of {samples.dtype}; allowed are int16 and floats in [-1, 1]: give int16 samples, or "
                "divide by the largest value that there can be, 2**15 for samples of 16 bits"
            )
        check_range(samples, "audio")
        return Samples.mixed(samples[:, None] if samples.ndim == 1 else samples, int(rate), "audio")

    @staticmethod
    def mixed(samples: np.ndarray, rate: int, name: str) -> "Samples":
        """Of (samples, channels)."""
        mono, channel = mix_down(samples)
        if channel is not None:
            warn(name, channel)
        return Samples(mono.astype(np.float32), rate)

    @property
    def num_samples(self) -> int:
        return len(self.samples)

    def read(self, spans: Iterable[Span], power: ChannelPower | None = None) -> Iterator[np.ndarray]:
        return (self.samples[start:end] for start, end in spans)

    def whole(self) -> "Samples":
        return self


@dataclass(frozen=True)
class Recording:
    """A recording and the spans of its utterances, in order; silence has none."""

    name: str
    sound: Sound
    spans: list[Span]

    @property
    def seconds(self) -> float:
        return self.sound.num_samples / self.sound.rate

    def utterances(self) -> Iterator[tuple[float, float, np.ndarray]]:
        """Start and end in seconds, and float32 (samples,) at 16 kHz, of each utterance; read one by one."""
        for (start, end), samples in zip(self.spans, self.sound.read(self.spans)):
            yield start / self.sound.rate, end / self.sound.rate, resample(samples, self.sound.rate)


def open_recording(
    audio: str | Path | np.ndarray, sampling_rate: int | None = None, split: Split = "auto", longest: float = LONGEST
) -> Recording:
    """Find the utterances of a file, or of samples at `sampling_rate` Hz.

    split: "never": the recording is one utterance, of at most 30 s; "always": split at its pauses, into utterances of
    at most `longest` seconds; "auto": split if longer than 30 s. A recording in which splitting finds no utterance is
    silence and has none, whatever `split` says: a model would find words and an emotion in it as well. So is one
    shorter than a click. UserError: no audio, too long for "never".
    """
    sound: Sound
    if isinstance(audio, str | Path):
        if sampling_rate is not None:
            raise UserError(f"{audio}: sampling_rate={sampling_rate} with a file, which says its own; leave it out")
        name, sound = str(audio), SoundFile.open(Path(audio))
    else:
        name, sound = "audio", Samples.check(np.asarray(audio), sampling_rate)
    fits_model = sound.num_samples <= MAX_SECONDS * sound.rate
    if split == "never" and not fits_model:
        length = sound.num_samples / sound.rate
        raise UserError(f"{name}: {length:.1f} s; one utterance has at most {MAX_SECONDS} s: let it be split")
    if split == "never" or split == "auto" and fits_model:
        # Read at once, so that errors show here.
        whole = (0, sound.num_samples)
        sound = sound.whole()
        return Recording(name, sound, [whole] if find_utterances(sound, longest) else [])
    power = ChannelPower()
    spans = find_utterances(sound, longest, power)
    if isinstance(sound, SoundFile) and power.channel is not None:  # a second reading, of these recordings only
        warn(name, power.channel)
        sound = replace(sound, channel=power.channel)
        spans = find_utterances(sound, longest)
    return Recording(name, sound, spans)


def warn(name: str, channel: int) -> None:
    print(
        f"{name}: only channel {channel + 1}, the loudest, is used, because the mean of all is over {FAR_BELOW:g} dB "
        "below it (they cancel out, or most are dead)",
        file=sys.stderr,
    )


def find_utterances(sound: Sound, longest: float, power: ChannelPower | None = None) -> list[Span]:
    """Spans of at most `longest` seconds at the pauses; the recording is read once, a block at a time."""
    check_longest(longest)
    frame = frame_size(sound.rate)
    block = BLOCK * sound.rate // frame * frame
    blocks = [(start, min(start + block, sound.num_samples)) for start in range(0, sound.num_samples, block)]
    level_N = np.concatenate([levels(samples, frame) for samples in sound.read(blocks, power)])
    spans = pauses.utterances(level_N, int(longest * sound.rate / frame))
    return [(start * frame, min(end * frame, sound.num_samples)) for start, end in spans]


def check_longest(seconds: float) -> None:
    if not 1 <= seconds <= MAX_SECONDS:
        raise UserError(f"longest={seconds:g}: allowed are utterances of 1 to {MAX_SECONDS} s")
