"""Audio files: an entry of wav.scp (a file, or file.ark:offset) -> its header, or samples at 16 kHz, mono.

Everything but plain WAV (plain_wav.py) is read by libsndfile. Kaldi's ark entries are opened here and not by kaldiio,
whose loader runs `command |` in a shell and unpickles what says it is a pickle.
"""

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from whisper_er.audio.kinds import CONVERT, HEAD, kind_of
from whisper_er.audio.plain_wav import claimed_bytes, finish, read_plain
from whisper_er.base.errors import UserError
from whisper_er.config import SAMPLE_RATE

ARK_ENTRY = re.compile(r"(.+\.ark):(\d{1,18})")  # what fits into 64 bits
# Hz. Far outside of what is recorded; at 1 Hz, which a damaged header may say, each sample would become 16000.
MIN_RATE, MAX_RATE = 1000, 1_000_000
MOST_SAMPLES = 2**27  # of one utterance, at its rate and at SAMPLE_RATE (2.3 hours): a damaged header may say anything
MP3_LEAD = 11520  # samples to decode before those that are wanted: a frame of 1152 builds upon the ones before it
LOUDEST = 10.0  # largest float sample: in [-1, 1] unless amplified; integers as floats are far above
MISCOUNT = 256  # bytes that a header may claim too many: some writers count it itself, of 44 to 80 bytes, or a pad byte
TAG = 1024  # bytes behind a WAV without samples that may be a tag of somebody's
UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's number of samples where the header leaves it open, as a FLAC stream's may


@dataclass(frozen=True)
class AudioInfo:
    """The header of an audio file. sample_rate: Hz; num_samples counts each channel once."""

    sample_rate: int
    channels: int
    num_samples: int


def audio_info(entry: str, utt_id: str) -> AudioInfo:
    """Read the header only; of floats that need no conversion the samples, whose range no header has.

    UserError for a file that is missing, unreadable, empty, cut short or of zero length.
    """
    with open_audio(entry, utt_id) as sound:
        check_length(sound, entry, utt_id, sound.frames)
        if sound.subtype in ("FLOAT", "DOUBLE") and (sound.samplerate, sound.channels) == (SAMPLE_RATE, 1):
            read_samples(sound, entry, utt_id)
        return AudioInfo(sound.samplerate, sound.channels, sound.frames)


def load_audio(entry: str, utt_id: str) -> np.ndarray:
    """Read float32 (samples,) in [-1, 1]; UserError also for audio that is not 16 kHz mono or not finite."""
    return to_float(load_samples(entry, utt_id))


def load_samples(entry: str, utt_id: str) -> np.ndarray:
    """Read (samples,) as load_audio does, as int16 where the file has 16 bits: half the bytes on their way to a GPU."""
    plain = plain_samples(entry, utt_id)
    return decode(entry, utt_id) if plain is None else plain


def plain_samples(entry: str, utt_id: str) -> np.ndarray | None:
    """int16 (samples,) of what need not be decoded; None for all else."""
    return read_plain(*locate(entry, utt_id))


def decode(entry: str, utt_id: str) -> np.ndarray:
    """As load_samples, by libsndfile."""
    with open_audio(entry, utt_id) as sound:
        check_ready(sound, entry, utt_id)
        dtype = "int16" if sound.subtype == "PCM_16" else "float32"
        return read_samples(sound, entry, utt_id, dtype=dtype)[:, 0]


def to_float(samples: np.ndarray) -> np.ndarray:
    """float32: int16 samples in [-1, 1], as libsndfile reads them; floats as they are."""
    return samples.astype(np.float32) / 2**15 if samples.dtype == np.int16 else samples.astype(np.float32, copy=False)


def check_ready(sound: soundfile.SoundFile, entry: str, utt_id: str) -> None:
    """UserError unless the audio is 16 kHz mono, as stage 1 leaves it."""
    if (sound.samplerate, sound.channels) != (SAMPLE_RATE, 1):
        raise UserError(
            f"{utt_id}: {entry}: {sound.samplerate} Hz, {sound.channels} channel(s); "
            f"allowed is {SAMPLE_RATE} Hz mono: run stage 1 (format_data), which converts"
        )


def locate(entry: str, utt_id: str) -> tuple[str, int | None]:
    """Path of an entry of wav.scp and, in an ark, the offset; UserError for what names no file."""
    if entry.endswith("|"):
        raise UserError(f"{utt_id}: {entry}: a command; allowed is an audio file: run stage 1 with --allow_pipes true")
    if "\0" in entry:
        raise UserError(f"{utt_id}: {entry}: a file name cannot hold the character NUL; mend wav.scp")
    try:
        entry.encode()
    except UnicodeEncodeError:
        raise UserError(f"{utt_id}: {entry}: its name is not UTF-8, which libsndfile asks for; rename it") from None
    ark = ARK_ENTRY.fullmatch(entry)
    return (ark[1], int(ark[2])) if ark else (entry, None)


@contextmanager
def open_audio(entry: str, utt_id: str) -> Iterator[soundfile.SoundFile]:
    """Open an entry of wav.scp; UserError unless it is audio of at least one sample."""
    name, offset = locate(entry, utt_id)
    path = Path(name).absolute()  # libsndfile reads standard input where the name is -
    with ExitStack() as stack:
        try:
            if path.stat().st_size == 0:
                raise UserError(f"{utt_id}: {entry}: the file is empty; restore it or leave the utterance out")
            file = stack.enter_context(path.open("rb"))
            stream = file if offset is None else _audio_in_ark(file, offset)
        except FileNotFoundError as error:
            raise UserError(f"{utt_id}: {entry}: no such file; relative paths count from {Path.cwd()}") from error
        except OSError as error:
            raise UserError(f"{utt_id}: {entry}: cannot be read as audio: {error.strerror}") from error
        yield stack.enter_context(open_stream(stream, entry, utt_id, path if offset is None else None))


def open_stream(stream: BinaryIO, entry: str, utt_id: str, path: Path | None = None) -> soundfile.SoundFile:
    """As open_audio, for the bytes of an audio file; path: where they lie, which libsndfile reads faster by itself.

    entry and utt_id are for the messages.
    """
    there, claimed = claimed_bytes(stream)
    stream.seek(0)
    try:
        sound = soundfile.SoundFile(path or stream)
        if sound.frames == 0 and there > TAG and (finished := finish(stream)):
            sound.close()
            sound = soundfile.SoundFile(finished)
    except TypeError as error:
        remedy = "write it as WAV: ffmpeg -f s16le -ar RATE -ac 1 -i IN OUT.wav"
        raise UserError(f"{utt_id}: {entry}: cannot be read as audio: .raw has no header; {remedy}") from error
    except soundfile.SoundFileError as error:
        stream.seek(0)
        raise _not_audio(entry, utt_id, error, kind_of(stream.read(HEAD))) from error
    if sound.frames == 0:
        raise UserError(f"{utt_id}: {entry}: audio of zero length; leave the utterance out")
    if sound.frames == UNKNOWN_LENGTH:
        raise UserError(f"{utt_id}: {entry}: its header does not say how long it is; write the file anew")
    if not MIN_RATE <= sound.samplerate <= MAX_RATE:
        raise UserError(f"{utt_id}: {entry}: {sound.samplerate} Hz; allowed are {MIN_RATE} to {MAX_RATE}")
    if there + MISCOUNT < claimed:
        width = max(1, there) / sound.frames  # bytes of a sample in all channels: whole, unless compressed
        expected = int(claimed / (int(width) or width))
        raise UserError(f"{utt_id}: {entry}: cut short: {sound.frames} of {expected} samples; restore the file")
    return sound


def read_samples(
    sound: soundfile.SoundFile,
    entry: str,
    utt_id: str,
    start: int = 0,
    end: int | None = None,
    dtype: Literal["float32", "int16"] = "float32",
) -> np.ndarray:
    """Read (samples, channels) from `start` up to `end`, or to the end; UserError if short, not finite or too loud.

    Memory for the length in the header is reserved, but used only as far as there are samples.
    """
    expected = (sound.frames if end is None else end) - start
    check_length(sound, entry, utt_id, expected)
    try:
        # Formats that cannot seek (GSM, ADPCM) do not tell their position and are read from the beginning.
        lead = 0
        if start != (sound.tell() if sound.seekable() else 0):
            lead = min(start, MP3_LEAD) if sound.format == "MP3" else 0
            sound.seek(start - lead)
        samples = sound.read(lead + expected, dtype=dtype, always_2d=True)[lead:]
    except soundfile.SoundFileError as error:
        raise _not_audio(entry, utt_id, error) from error
    except MemoryError as error:
        raise UserError(f"{utt_id}: {entry}: {expected} samples, which memory cannot hold; restore the file") from error
    if len(samples) < expected:
        raise UserError(f"{utt_id}: {entry}: cut short: {len(samples)} of {expected} samples; restore the file")
    if not np.isfinite(samples).all():
        raise UserError(f"{utt_id}: {entry}: has samples that are NaN or infinite; restore the file")
    check_range(samples, f"{utt_id}: {entry}")
    return samples


def check_range(samples: np.ndarray, name: str) -> None:
    """UserError for floats that are far outside of [-1, 1], where all would be clipped, or not finite."""
    if samples.dtype.kind == "f" and samples.size and not (peak := max(samples.max(), -samples.min())) <= LOUDEST:
        raise UserError(
            f"{name}: samples up to {peak:g}; allowed are floats in [-1, 1]: if these are 16-bit integers, divide them "
            "by 32768"
        )


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """float32 (samples,) at `rate` Hz -> at SAMPLE_RATE."""
    return samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE)


def check_length(sound: soundfile.SoundFile, entry: str, utt_id: str, num_samples: int) -> None:
    """UserError for audio too long for one utterance: stage 3 or 5 would find no memory for it."""
    seconds, most = num_samples / sound.samplerate, MOST_SAMPLES / max(SAMPLE_RATE, sound.samplerate)
    if seconds > most:
        raise UserError(
            f"{utt_id}: {entry}: {seconds:.0f} s; allowed are {most:.0f} s in one utterance: cut it with segments, or "
            "restore the file if it is not so long"
        )


def _not_audio(entry: str, utt_id: str, error: Exception, kind: tuple[str, str] | None = None) -> UserError:
    reason = str(error).rpartition(": ")[2].rstrip(".")  # what stands before it is a Python object's name
    remedy = CONVERT if "unimplemented" in reason else "restore the file"
    reason, remedy = kind or (reason, remedy)
    return UserError(f"{utt_id}: {entry}: cannot be read as audio: {reason}; {remedy}")


class _Window(io.RawIOBase):
    """The `size` bytes of a file from `start` on, as a file of its own."""

    def __init__(self, file: io.BufferedReader, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size
        file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.file.tell() - self.start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.size}[whence]
        return self.file.seek(self.start + max(0, origin + offset)) - self.start  # a damaged header leads anywhere

    def readinto(self, buffer: memoryview) -> int:
        remaining = max(0, self.size - self.tell())
        return self.file.readinto(memoryview(buffer)[:remaining])


def _audio_in_ark(file: io.BufferedReader, offset: int) -> _Window:
    """The audio file at an offset of an ark: bare RIFF or FLAC, or `AUDIO`, the size's width, the size, the file."""
    end = file.seek(0, io.SEEK_END)
    file.seek(offset)
    head = file.read(13)
    start, size = offset, end - offset  # of a bare FLAC the header tells where it ends
    if head.startswith(b"AUDIO"):
        start += 6 + head[5] if len(head) > 5 else 5
        size = int.from_bytes(head[6 : start - offset], "little")
    elif head.startswith(b"RIFF"):
        size = 8 + int.from_bytes(head[4:8], "little")
    return _Window(file, start, max(0, min(size, end - start)))
