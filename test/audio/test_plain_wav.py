"""WAV that is read without libsndfile, against libsndfile: the same samples, and its errors for all that is odd."""

import io
import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from whisper_er.audio.plain_wav import read_plain
from whisper_er.audio.reading import decode, load_samples
from whisper_er.base.errors import UserError
from whisper_er.config import MAX_SAMPLES

SAMPLES = np.random.default_rng(0).integers(-32768, 32768, 500, dtype=np.int16)
SOUND = SAMPLES.tobytes()
PCM = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    """size: what it claims to have."""
    return name + struct.pack("<I", len(content) if size is None else size) + content


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks), size)


def written(kind: str, subtype: str, channels: int = 1, rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    samples = SAMPLES / 2**15 if subtype == "FLOAT" else SAMPLES  # soundfile writes integers as they are
    soundfile.write(buffer, samples.reshape(-1, channels), rate, format=kind, subtype=subtype)
    return buffer.getvalue()


FMT, DATA, INFO = chunk(b"fmt ", PCM), chunk(b"data", SOUND), b"INFO" + chunk(b"ISFT", b"Lavf60.3.100\0\0")
PLAIN = {
    "as soundfile writes it": written("WAV", "PCM_16"),
    "as ffmpeg writes it": riff(FMT, chunk(b"LIST", INFO), DATA),
    "of 30 s": riff(FMT, chunk(b"data", bytes(2 * MAX_SAMPLES))),
}
ODD = {
    "extensible": written("WAVEX", "PCM_16"),
    "extensible, 18 bytes of format": riff(chunk(b"fmt ", PCM + b"\0\0"), DATA),
    "24 bits": written("WAV", "PCM_24"),
    "float": written("WAV", "FLOAT"),
    "8 bits": written("WAV", "PCM_U8"),
    "big-endian": written("AIFF", "PCM_16"),
    "FLAC": written("FLAC", "PCM_16"),
    "stereo": written("WAV", "PCM_16", channels=2),
    "8 kHz": written("WAV", "PCM_16", rate=8000),
    "a LIST of odd size": riff(FMT, chunk(b"LIST", INFO + b"x") + b"\0", DATA),
    "a LIST after the samples": riff(FMT, DATA, chunk(b"LIST", INFO)),
    "a LIST longer than the header may be": riff(FMT, chunk(b"LIST", b"INFO" + chunk(b"ICMT", bytes(300))), DATA),
    "a chunk before the format": riff(chunk(b"JUNK", bytes(28)), FMT, DATA),
    "samples of odd size": riff(FMT, chunk(b"data", SOUND + b"x")),
    "samples of unknown size": riff(FMT, chunk(b"data", SOUND, 2**32 - 1), size=2**32 - 1),
    "data of unknown size": riff(FMT, chunk(b"data", SOUND, 2**32 - 1)),
    "data larger than the file": riff(FMT, chunk(b"data", SOUND, 2000)),
    "data smaller than the file": riff(FMT, chunk(b"data", SOUND, 600)),
    "a RIFF larger than the file": riff(FMT, DATA, size=2000),
    "no samples": riff(FMT, chunk(b"data", b"")),
    "cut in the samples": riff(FMT, DATA)[:-7],
    "cut in the header": riff(FMT, DATA)[:40],
    "longer than 30 s": riff(FMT, chunk(b"data", bytes(2 * MAX_SAMPLES + 2))),
    "garbage": SOUND,
}
PLACES = {
    "file": ("a.wav", b"", lambda content: b""),
    "ark": ("a.ark:5", b"utt1 ", lambda content: b""),
    "ark with AUDIO": ("a.ark:5", b"utt1 ", lambda content: b"AUDIO\x04" + struct.pack("<I", len(content))),
    "ark with AUDIO and 64 bits": ("a.ark:5", b"utt1 ", lambda content: b"AUDIO\x08" + struct.pack("<Q", len(content))),
}


def write(directory, place: str, content: bytes, last: bool = False) -> str:
    """The entry of wav.scp; last: in an ark no other utterance follows."""
    name, before, head = PLACES[place]
    path, colon, offset = (directory / name).as_posix().partition(":")
    after = b"utt2 " + PLAIN["as soundfile writes it"] if colon and not last else b""
    with open(path, "wb") as file:
        file.write(before + head(content) + content + after)
    return path + colon + offset


def outcome(read, entry: str):
    try:
        return read(entry, "utt")
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", PLAIN)
def test_plain_files_and_entries_give_the_samples_that_libsndfile_gives(tmp_path, what, place):
    entry = write(tmp_path, place, PLAIN[what])
    path, _, offset = entry.partition(":")
    samples = read_plain(path, int(offset) if offset else None)
    assert samples.dtype == np.int16
    np.testing.assert_array_equal(samples, decode(entry, "utt"))
    assert np.array_equal(samples, SAMPLES) or what == "of 30 s"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ODD)
def test_all_else_is_left_to_libsndfile(tmp_path, what, place):
    entry = write(tmp_path, place, ODD[what], last=what.startswith("cut"))
    path, _, offset = entry.partition(":")
    assert read_plain(path, int(offset) if offset else None) is None
    ours, libsndfile = outcome(load_samples, entry), outcome(decode, entry)
    assert type(ours) is type(libsndfile)
    assert ours == libsndfile if isinstance(ours, str) else np.array_equal(ours, libsndfile)


def test_16_bits_stay_16_bits_whatever_the_format(tmp_path):
    kinds = ("extensible", "big-endian", "FLAC", "24 bits", "float", "8 bits")
    types = [load_samples(write(tmp_path, "ark with AUDIO", ODD[what]), "utt").dtype for what in kinds]
    assert types == [np.int16, np.int16, np.int16, np.float32, np.float32, np.float32]


def test_a_file_that_is_cut_while_it_is_read_does_not_end_the_process(tmp_path, monkeypatch):
    entry = write(tmp_path, "file", PLAIN["of 30 s"])
    size = os.path.getsize(entry)
    os.truncate(entry, 5000)
    monkeypatch.setattr(os, "fstat", lambda file: SimpleNamespace(st_size=size))  # as it was a moment ago
    assert read_plain(entry, None) is None


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, offset in (("pipe.wav", None), (".", None), ("none.wav", None), ("none.ark", 10**17)):
        assert read_plain(str(tmp_path / name), offset) is None
    with pytest.raises(UserError, match="the file is empty"):
        load_samples(str(tmp_path / "pipe.wav"), "utt")


def test_an_offset_beyond_the_end_of_an_ark_is_not_plain(tmp_path):
    path, _, _ = write(tmp_path, "ark", PLAIN["as soundfile writes it"]).partition(":")
    for offset in (10**6, 10**18 - 1):
        assert read_plain(path, offset) is None
