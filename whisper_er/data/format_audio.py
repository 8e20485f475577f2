"""Stage 1: a data directory as local/data.sh wrote it -> a dump directory, whose every entry is 16 kHz mono.

Only headers are read where the audio is 16 kHz mono already: such an utterance keeps its entry of wav.scp. Audio with
another rate, several channels, segments or a command is written to <out_dir>/wav/, as 16-bit samples; with an ark
format all audio is.
"""

import io
import math
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from whisper_er.base import ahead
from whisper_er.base.errors import UserError, first_few
from whisper_er.config import SAMPLE_RATE
from whisper_er.data import kaldi
from whisper_er.data.audio import audio_info, open_audio, open_stream, read_samples, resample
from whisper_er.data.audio_writer import AudioWriter

MAX_SECONDS = 1e9  # of a segment's times: 31 years, which no recording has; 1e308 s would be no number of samples
OVERSHOOT = 0.01  # seconds that a segment may end after its recording: times are often rounded to two decimals


@dataclass(frozen=True)
class Recording:
    """One entry of wav.scp with its utterances; segments holds (start, end) in seconds, None for the whole."""

    entry: str
    segments: dict[str, tuple[float, float] | None]

    @property
    def name(self) -> str:
        return next(iter(self.segments))


@dataclass
class Formatted:
    """Utterances after formatting: entries of wav.scp, numbers of samples, and an error for each unusable one."""

    wav_scp: kaldi.Table
    num_samples: kaldi.Table
    errors: list[str]

    def update(self, other: "Formatted") -> None:
        self.wav_scp.update(other.wav_scp)
        self.num_samples.update(other.num_samples)
        self.errors.extend(other.errors)


def format_data(
    data_dir: Path, out_dir: Path, allow_pipes: bool = False, nj: int = 1, audio_format: str = "wav"
) -> None:
    """Write the dump directory out_dir, whole or not at all; UserError that names the utterances without usable audio.

    nj: processes. With allow_pipes the commands in wav.scp are run, by bash. audio_format: see audio_writer.FORMATS.
    """
    if nj < 1:
        raise UserError(f"--nj {nj}: allowed is 1 or more")
    if out_dir.resolve() == data_dir.resolve():
        raise UserError(f"{out_dir}: --out_dir is --data_dir; choose another output directory")
    data = kaldi.read_dir(data_dir)
    kaldi.validate(data_dir, data)
    pipes = [key for key, entry in data["wav.scp"].items() if entry.endswith("|")]
    if pipes and not allow_pipes:
        raise UserError(
            f"{data_dir / 'wav.scp'}: {len(pipes)} entries are commands, e.g. {pipes[0]!r}; write files instead, "
            "or have them run with --allow_pipes true"
        )
    with kaldi.replace_data_dir(out_dir) as new:
        (new / kaldi.AUDIO).mkdir()
        format_chunk = partial(
            _format_chunk, wav_dir=new / kaldi.AUDIO, final_dir=out_dir / kaldi.AUDIO, audio_format=audio_format
        )
        result = Formatted({}, {}, [])
        for part in _map(format_chunk, _recordings(data), nj):
            result.update(part)
        if result.errors:
            raise UserError(
                f"{data_dir}: {len(result.errors)} of {len(data['utt2spk'])} utterances cannot be used; restore their "
                f"audio or leave them out in local/data.sh: {first_few(result.errors, separator=' | ')}"
            )
        tables = {name: table for name, table in data.items() if name != "segments"}
        tables |= {"wav.scp": result.wav_scp, "utt2num_samples": result.num_samples}
        for name, table in tables.items():
            kaldi.write_table(new / name, table)
    unchanged = sum(entry == data["wav.scp"].get(utt_id) for utt_id, entry in result.wav_scp.items())
    hours = sum(map(int, result.num_samples.values())) / SAMPLE_RATE / 3600
    print(
        f"{data_dir} -> {out_dir}: {len(result.wav_scp)} utterances, {hours:.2f} hours; "
        f"{unchanged} kept as they are, {len(result.wav_scp) - unchanged} written to {out_dir / kaldi.AUDIO}"
    )


def _recordings(data: kaldi.DataDir) -> list[Recording]:
    if "segments" not in data:
        return [Recording(entry, {utt_id: None}) for utt_id, entry in data["wav.scp"].items()]
    segments: dict[str, dict] = defaultdict(dict)
    for utt_id in data["segments"]:
        recording, start, end = kaldi.segment(data, utt_id)
        segments[recording][utt_id] = (start, end)
    return [Recording(data["wav.scp"][recording], part) for recording, part in segments.items()]


def _map(format_chunk: Callable, recordings: list[Recording], nj: int) -> Iterable[Formatted]:
    if nj == 1:
        yield format_chunk(0, recordings)
        return
    size = math.ceil(len(recordings) / (8 * nj))
    chunks = [recordings[start : start + size] for start in range(0, len(recordings), size)]
    job = ahead.Job(
        lambda number: format_chunk(number, chunks[number]),
        len(chunks),
        lambda number: f"the recordings from {chunks[number][0].name} to {chunks[number][-1].name}",
        "give --nj 1, or look at these recordings",
    )
    yield from ahead.results(job, nj, len(chunks))


def _format_chunk(
    number: int, recordings: list[Recording], wav_dir: Path, final_dir: Path, audio_format: str
) -> Formatted:
    """Format recordings in turn; audio is written to wav_dir, which will be renamed to final_dir."""
    result = Formatted({}, {}, [])
    with AudioWriter(wav_dir, final_dir, audio_format, f"audio.{number + 1}") as writer:
        for recording in recordings:
            result.update(_format_recording(recording, writer))
    return result


def _format_recording(recording: Recording, writer: AudioWriter) -> Formatted:
    """Keep the entry of a 16 kHz mono file, or write its utterances."""
    result = Formatted({}, {}, [])
    try:
        if not writer.ark and not recording.entry.endswith("|") and None in recording.segments.values():
            info = audio_info(recording.entry, recording.name)
            if (info.sample_rate, info.channels) == (SAMPLE_RATE, 1):
                return Formatted({recording.name: recording.entry}, {recording.name: str(info.num_samples)}, [])
        with _open(recording) as sound:
            for utt_id, segment in recording.segments.items():
                try:
                    samples = _cut(sound, recording.entry, utt_id, segment)
                    samples = resample(samples.mean(axis=1), sound.samplerate)
                    if not len(samples):
                        raise UserError(
                            f"{utt_id}: {recording.entry}: too short for one sample at {SAMPLE_RATE} Hz; leave it out"
                        )
                    result.wav_scp[utt_id] = writer.write(utt_id, samples)
                except UserError as error:
                    result.errors.append(str(error))
                else:
                    result.num_samples[utt_id] = str(len(samples))
    except UserError as error:  # the recording itself: none of its utterances can be used
        result.errors.append(str(error))
        result.errors += [f"{utt_id}: in the same recording" for utt_id in list(recording.segments)[1:]]
    return result


def _open(recording: Recording) -> AbstractContextManager[soundfile.SoundFile]:
    if not recording.entry.endswith("|"):
        return open_audio(recording.entry, recording.name)
    command = recording.entry.removesuffix("|").strip()
    bash = ["bash", "-o", "pipefail", "-c", command]
    try:
        shell = subprocess.run(bash, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except (OSError, ValueError) as error:  # too long; with a NUL
        raise UserError(f"{recording.name}: {recording.entry}: the command cannot be run: {error}") from error
    if shell.returncode != 0:
        last = shell.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"{recording.name}: {recording.entry}: the command failed ({shell.returncode}): {last}")
    return open_stream(io.BytesIO(shell.stdout), recording.entry, recording.name)


def _cut(sound: soundfile.SoundFile, entry: str, utt_id: str, segment: tuple[float, float] | None) -> np.ndarray:
    if segment is None:
        return read_samples(sound, entry, utt_id)
    start, end = (round(min(time, MAX_SECONDS) * sound.samplerate) for time in segment)
    if end > sound.frames + OVERSHOOT * sound.samplerate or start >= min(end, sound.frames):
        raise UserError(
            f"{utt_id}: {entry}: segment {segment[0]} to {segment[1]} s is empty or outside of the recording of "
            f"{sound.frames / sound.samplerate:.3f} s"
        )
    return read_samples(sound, entry, utt_id, start, min(end, sound.frames))
