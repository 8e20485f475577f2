"""Stage 1: a data directory as local/data.sh wrote it -> a dump directory, whose every entry is 16 kHz mono.

An utterance whose audio is 16 kHz mono already keeps its entry of wav.scp; its samples are only read until it turns out
not to be silent, and of floats all, for their range. Audio with another rate, several channels, segments or a command
is written to <out_dir>/wav/, as 16-bit samples; with an ark format all audio is.
"""

import io
import math
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from whisper_er.audio.channels import FAR_BELOW, mix_down
from whisper_er.audio.loudness import CLICK, SILENT, is_silent
from whisper_er.audio.reading import (
    audio_info,
    open_audio,
    open_stream,
    plain_samples,
    read_samples,
    resample,
    to_float,
)
from whisper_er.audio.writer import AudioWriter
from whisper_er.base.errors import UserError, first_few
from whisper_er.base.file_states import file_states, write_states
from whisper_er.config import SAMPLE_RATE
from whisper_er.corpora.changed_audio import STATES, audio_files, written_files
from whisper_er.data import kaldi
from whisper_er.process import ahead

MAX_SECONDS = 1e9  # of a segment's times: 31 years, which no recording has; 1e308 s would be no number of samples
BLOCK = SAMPLE_RATE // 2  # samples that are searched for a sound at a time
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
    """Utterances after formatting: entries of wav.scp, numbers of samples, an error for each unusable one, those of
    which one channel is used, and those that are silent."""

    wav_scp: kaldi.Table
    num_samples: kaldi.Table
    errors: list[str]
    one_channel: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def update(self, other: "Formatted") -> None:
        self.wav_scp.update(other.wav_scp)
        self.num_samples.update(other.num_samples)
        self.errors.extend(other.errors)
        self.one_channel.extend(other.one_channel)
        self.silent.extend(other.silent)


def format_data(
    data_dir: Path,
    out_dir: Path,
    allow_pipes: bool = False,
    nj: int = 1,
    audio_format: str = "wav",
    silent_audio: str = "error",
) -> None:
    """Write the dump directory out_dir, whole or not at all; UserError that names the utterances without usable audio.

    nj: processes. With allow_pipes the commands in wav.scp are run, by bash. audio_format: see audio_writer.FORMATS.
    silent_audio: what becomes of silent utterances, which are named: "error" or "keep".
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
        states = file_states(audio_files(data))
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
        if result.silent:
            silent = f"{data_dir}: {len(result.silent)} of {len(data['utt2spk'])} utterances are silent (nothing is "
            silent += f"louder than {SILENT:g} dB for {CLICK:g} s): {first_few(result.silent)}"
            if silent_audio == "error":
                raise UserError(f"{silent}; leave them out in local/data.sh, or keep them: --silent_audio keep")
            print(f"{silent}; they are kept")
        tables = {name: table for name, table in data.items() if name != "segments"}
        tables |= {"wav.scp": result.wav_scp, "utt2num_samples": result.num_samples}
        for name, table in tables.items():
            kaldi.write_table(new / name, table)
        if (data_dir / kaldi.ABOUT).is_file():
            shutil.copyfile(data_dir / kaldi.ABOUT, new / kaldi.ABOUT)
        write_states(new / STATES, states | written_files(new / kaldi.AUDIO, out_dir / kaldi.AUDIO))
    if result.one_channel:
        print(
            f"{data_dir}: of {len(result.one_channel)} utterances only the loudest channel is used, because the mean "
            f"is over {FAR_BELOW:g} dB below it (they cancel out, or most are dead): {first_few(result.one_channel)}"
        )
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
            kept = _keep(recording.entry, recording.name)
            if kept:
                return kept
        with _open(recording) as sound:
            for utt_id, segment in recording.segments.items():
                try:
                    samples = _cut(sound, recording.entry, utt_id, segment)
                    mono, channel = mix_down(samples)
                    samples = resample(mono, sound.samplerate)
                    if not len(samples):
                        raise UserError(
                            f"{utt_id}: {recording.entry}: too short for one sample at {SAMPLE_RATE} Hz; leave it out"
                        )
                    if is_silent(_half_seconds(samples), SAMPLE_RATE):
                        result.silent.append(utt_id)
                    result.wav_scp[utt_id] = writer.write(utt_id, samples)
                except UserError as error:
                    result.errors.append(str(error))
                else:
                    result.num_samples[utt_id] = str(len(samples))
                    if channel is not None:
                        result.one_channel.append(f"{utt_id} (channel {channel + 1} of {sound.channels})")
    except UserError as error:  # the recording itself: none of its utterances can be used
        result.errors.append(str(error))
        result.errors += [f"{utt_id}: in the same recording" for utt_id in list(recording.segments)[1:]]
    return result


def _keep(entry: str, utt_id: str) -> Formatted | None:
    """The entry of a file that is 16 kHz mono; None for any other.

    Whether it is silent is found out here: in training it would show hours later, and mostly the first block tells. It
    adds a sixth to the time of plain WAV, and 0.4 ms to a file of FLAC, of which its header takes 0.06 ms.
    """
    plain = plain_samples(entry, utt_id)
    if plain is not None:
        num_samples = len(plain)
        blocks = map(to_float, _half_seconds(plain))
    else:
        info = audio_info(entry, utt_id)
        if (info.sample_rate, info.channels) != (SAMPLE_RATE, 1):
            return None
        num_samples, blocks = info.num_samples, _blocks(entry, utt_id)
    silent = [utt_id] if is_silent(blocks, SAMPLE_RATE) else []
    return Formatted({utt_id: entry}, {utt_id: str(num_samples)}, [], silent=silent)


def _half_seconds(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of half a second: mostly the first one tells that there is a sound."""
    return (samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))


def _blocks(entry: str, utt_id: str) -> Iterator[np.ndarray]:
    """float32 (samples,) of a mono file, decoded as far as they are asked for; of one that cannot seek, all at once."""
    with open_audio(entry, utt_id) as sound:
        size = BLOCK if sound.seekable() else sound.frames
        for start in range(0, sound.frames, size):
            yield read_samples(sound, entry, utt_id, start, min(start + size, sound.frames))[:, 0]


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
