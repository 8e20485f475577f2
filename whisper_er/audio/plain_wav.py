"""Headers that are read without libsndfile.

Plain WAV, 16-bit PCM at 16 kHz, mono, is read in 60 microseconds an utterance instead of 400. Of this and other
containers it is told how many bytes of samples the header claims: libsndfile takes those that are there for all.
"""

import io
import math
import os
import re
import struct
from typing import BinaryIO

import numpy as np

from whisper_er.config import MAX_SAMPLES, SAMPLE_RATE

RIFF, CHUNK = struct.Struct("<4sI4s4sIHHIIHH"), struct.Struct("<4sI")
PLAIN = (b"WAVE", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)  # PCM, one channel, rates, bytes, bits
ALLOWED = range(2, 2 * MAX_SAMPLES + 1, 2)  # bytes of the samples
HEAD = 256  # bytes read for the header; one with more in it is not plain

# Containers of chunks: what a file begins with -> the form of a chunk's name and size, where the first one is, names of
# the one with the samples. W64's sizes count the name and the size as well.
W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
CONTAINERS = {
    b"RIFF": ("<4sI", 12, (b"data",)), b"RF64": ("<4sI", 12, (b"data",)), b"RIFX": (">4sI", 12, (b"data",)),
    b"FORM": (">4sI", 12, (b"SSND", b"BODY")), b"riff": ("<16sQ", 40, (W64_DATA,)),
}  # fmt: skip
MOST_CHUNKS = 100  # before the samples
OPEN = 2**16  # who cannot go back to write the size leaves 0, or a number so close below 2^31, 2^32, 2^63 or 2^64


def read_plain(path: str, offset: int | None) -> np.ndarray | None:
    """int16 (samples,) of a file, or of the entry at an offset of an ark.

    None for whatever is not plain, damaged or missing: libsndfile judges that. Read and not mapped: a file that is cut
    while it is mapped ends the process with SIGBUS, and reading 150 kB takes no longer.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe would wait for its writer
    except OSError:
        return None
    try:
        head, size = os.pread(file, HEAD, offset or 0), os.fstat(file).st_size
        span = find_samples(head, size) if offset is None else find_in_ark(head, size - offset)
        if span is None:
            return None
        samples = np.empty(span[1] // 2, dtype="<i2")
        return samples if os.preadv(file, [samples], (offset or 0) + span[0]) == span[1] else None
    except (OSError, OverflowError):  # a directory; an offset beyond what a file can have
        return None
    finally:
        os.close(file)


def find_in_ark(head: bytes, rest: int) -> tuple[int, int] | None:
    """As find_samples, for an entry that starts with RIFF or with `AUDIO`, the size's width, the size; rest: bytes up
    to the ark's end."""
    if head.startswith(b"RIFF"):
        size = 8 + int.from_bytes(head[4:8], "little")
        return find_samples(head, size) if size <= rest else None
    if not head.startswith(b"AUDIO") or len(head) < 6 or head[5] > 8:
        return None
    start = 6 + head[5]
    size = int.from_bytes(head[6:start], "little")
    span = find_samples(head[start:], size) if start + size <= rest else None
    return span and (start + span[0], span[1])


def find_samples(head: bytes, size: int) -> tuple[int, int] | None:
    """Start and number of the bytes of the samples in a file of `size` bytes that starts with `head`.

    They are what follows the format, or a chunk LIST after it, as ffmpeg writes one, up to the file's end. None for
    more than Whisper reads, which may be too long for memory.
    """
    if len(head) < RIFF.size + CHUNK.size:
        return None
    riff, riff_size, *rest = RIFF.unpack_from(head)
    name, length = CHUNK.unpack_from(head, RIFF.size)
    start = RIFF.size + CHUNK.size
    if name == b"LIST" and length % 2 == 0 and start + length + CHUNK.size <= len(head):
        start += length + CHUNK.size
        name, length = CHUNK.unpack_from(head, start - CHUNK.size)
    plain = riff == b"RIFF" and tuple(rest) == PLAIN and name == b"data" and length in ALLOWED
    return (start, length) if plain and 8 + riff_size == size == start + length else None


def claimed_bytes(file: BinaryIO) -> tuple[int, int]:
    """How many bytes there are for samples, and how many the header claims: of WAV, RF64, W64, AIFF, AU and SPHERE.

    0 are claimed where the header leaves it open, as that of a stream does, and in all other files.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    start, size = _claim(file, end) or (end, 0)
    return max(0, end - start), 0 if -size % 2**31 < OPEN else size


def _claim(file: BinaryIO, end: int) -> tuple[int, int] | None:
    """Where the samples start, and their number of bytes."""
    magic = file.read(4)
    if magic in (b".snd", b"dns."):
        fields = file.read(8)
        return struct.unpack(">II" if magic == b".snd" else "<II", fields) if len(fields) == 8 else None
    if magic == b"NIST":
        start, text = re.match(rb"(?:_1A\s+(\d{1,9})\s)?(.*)", file.read(1020), re.DOTALL).groups()
        fields = dict(re.findall(rb"^(\w+) -i (\d{1,18})\s*$", text, re.MULTILINE))
        factors = [int(fields.get(name, 0)) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
        return int(start or 0), math.prod(factors)
    if magic not in CONTAINERS:
        return None
    form, at, names = CONTAINERS[magic]
    head, long_size = struct.Struct(form), None
    counted, alignment = (head.size, 8) if magic == b"riff" else (0, 2)
    for _ in range(MOST_CHUNKS):
        if at + head.size > end:
            break
        file.seek(at)
        content = file.read(head.size + 16)
        if len(content) < head.size:
            break
        name, size = head.unpack_from(content)
        if name in names:
            size = long_size if long_size is not None and size == 2**32 - 1 else size - counted
            own = 8 if name == b"SSND" else 0  # an offset and a block size
            return at + head.size + own, size - own
        if name == b"ds64" and len(content) == head.size + 16:
            long_size = int.from_bytes(content[16:24], "little")
        size = max(size - counted, 0)
        at += head.size + size + -size % alignment
    return None


def finish(file: BinaryIO) -> io.BytesIO | None:
    """A WAV whose sizes, which are written in the end, are missing, so that libsndfile reads it to the end; else None.

    It does so where the first size is 8 and that of the samples 0.
    """
    file.seek(0)
    head = file.read(8)
    if not head.startswith(b"RIFF"):
        return None
    content = file.read()
    finished = int.from_bytes(head[4:], "little") == len(content)
    return None if finished else io.BytesIO(head[:4] + (8).to_bytes(4, "little") + content)
