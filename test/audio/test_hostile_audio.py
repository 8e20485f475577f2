"""Damaged and lying audio files: what comes out is finite audio or a UserError of one printable line, without a hang,
and in memory that grows with the file and not with what its header claims.
"""

import faulthandler
import io
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile import attempt, cases
from hypothesis import given
from hypothesis import strategies as st

from whisper_er.audio.reading import MOST_SAMPLES, audio_info, load_audio, open_audio, read_samples
from whisper_er.base.errors import UserError
from whisper_er.corpora.format_audio import format_data
from whisper_er.data import kaldi

SECONDS = 20  # for a case of milliseconds: after that the process dies with the stack of the call that hangs
KINDS = (
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
    ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("NIST", "PCM_16"),
)  # fmt: skip
INTEGERS = (0, 1, 2, 7, 255, 1000, 16000, 65535, 10**6, 2**30, 2**31 - 1, 2**31, 2**32 - 9, 2**32 - 1, 2**62, 2**63 - 1)
OFFSETS = (str(2**31), str(2**32), str(2**63 - 1), str(2**63), "9" * 18, "9" * 30, "9" * 5000, "-1", "٣")


def audio(kind: tuple[str, str], num_samples: int = 60, channels: int = 1, rate: int = 16000) -> bytes:
    samples = np.random.default_rng(0).integers(-9000, 9000, (num_samples, channels), dtype=np.int16)
    buffer = io.BytesIO()
    samples = samples / 2**15 if kind[1] == "FLOAT" else samples  # soundfile writes integers as they are
    soundfile.write(buffer, samples, rate, format=kind[0], subtype=kind[1])
    return buffer.getvalue()


WHOLE = [audio(kind, 60, *how) for kind in KINDS for how in ((1, 16000), (2, 8000))]


@pytest.fixture(scope="module", autouse=True)
def directory(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("fuzz"))
        yield


@pytest.fixture(scope="module", autouse=True)
def ignored():
    """What a callback of libsndfile raised, which Python can only report."""
    errors = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", errors.append)
        yield errors


def read_piece(entry: str, start: int, end: int) -> np.ndarray:
    with open_audio(entry, "utt") as sound:
        return read_samples(sound, entry, "utt", start, end)


def use(entry: str, segment: str = "") -> None:
    """Do with an entry of wav.scp what the recipe does; assert what holds for audio that is accepted."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    info = attempt(audio_info, entry, "utt")
    samples = attempt(load_audio, entry, "utt")
    if samples is not None:
        assert samples.dtype == np.float32 and samples.shape == (info.num_samples,) and np.isfinite(samples).all()
    piece = attempt(read_piece, entry, 5, 9)
    assert piece is None or piece.shape == (4, info.channels if info else piece.shape[1])
    data = {"wav.scp": {"utt": entry}, "utt2spk": {"utt": "s"}}
    if segment:
        data |= {"wav.scp": {"r": entry}, "segments": {"utt": segment}}
    kaldi.write_dir(Path("data"), data)
    shutil.rmtree("dump", ignore_errors=True)
    if attempt(format_data, Path("data"), Path("dump")):
        dump = {name: table["utt"] for name, table in kaldi.read_dir(Path("dump")).items()}
        as_it_was = dump["wav.scp"] == entry  # of which stage 1 may have read the beginning only
        written = attempt(load_audio, dump["wav.scp"], "utt") if as_it_was else load_audio(dump["wav.scp"], "utt")
        assert written is None or len(written) == int(dump["utt2num_samples"]) > 0
    else:
        assert not Path("dump").exists()
    faulthandler.cancel_dump_traceback_later()


@st.composite
def damaged(draw) -> bytes:
    """A tiny audio file with numbers of its header replaced, bytes inserted or left out, or its end cut off."""
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        end = draw(st.sampled_from((48, 120, 400)))
        at = min(len(content), draw(st.integers(draw(st.sampled_from((0, 16, 40))), end)))
        size = draw(st.sampled_from((1, 2, 4, 8)))
        number = (draw(st.sampled_from(INTEGERS)) % 256**size).to_bytes(size, draw(st.sampled_from(("little", "big"))))
        match draw(st.integers(0, 9)):
            case 0:
                del content[at:]
            case 1:
                del content[at : at + size]
            case 2:
                content[at:at] = number
            case 3:
                content[at : at + size] = draw(st.binary(min_size=size, max_size=size))
            case _:
                content[at : at + size] = number
    return bytes(content)


segments = st.sampled_from(("", "", "r 0 0.001", "r 0.002 0.0035", "r 0.001 1e308", "r 1e300 1e308", "r 0 134217.727"))


@given(content=damaged(), segment=segments)
@cases(1300)
def test_a_damaged_file_ends_in_audio_or_in_one_line(ignored, content, segment):
    Path("a.audio").write_bytes(content)
    use("a.audio", segment)
    assert not ignored


def audio_head(size: int, number: int) -> bytes:
    """What Kaldi writes in front of an audio file: AUDIO, bytes of the size, size."""
    return b"AUDIO" + bytes([size]) + number.to_bytes(8, "little")[:size]


heads = st.builds(audio_head, st.integers(0, 9), st.sampled_from(INTEGERS))


@given(
    before=st.binary(max_size=9),
    head=st.one_of(st.just(b""), st.binary(max_size=9), heads),
    content=st.one_of(damaged(), st.sampled_from(WHOLE)),
    offset=st.one_of(*[st.none()] * 4, st.integers(0, 300).map(str), st.sampled_from(OFFSETS)),
    segment=segments,
)
@cases(1000)
def test_a_damaged_entry_of_an_ark_ends_in_audio_or_in_one_line(ignored, before, head, content, offset, segment):
    Path("a.ark").write_bytes(before + head + content + b"next RIFF")
    use(f"a.ark:{offset or len(before)}", segment)
    assert not ignored


@given(content=damaged())
@cases(40)
def test_a_damaged_output_of_a_command_ends_in_audio_or_in_one_line(ignored, content):
    Path("a.audio").write_bytes(content)
    kaldi.write_dir(Path("data"), {"wav.scp": {"utt": "cat a.audio |"}, "utt2spk": {"utt": "s"}})
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    attempt(format_data, Path("data"), Path("dump"), True)
    faulthandler.cancel_dump_traceback_later()
    assert not ignored


def patched(content: bytes, mark: bytes, offset: int, form: str, *numbers: int) -> bytes:
    """The numbers written at an offset from where `mark` ends."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.index(mark) + len(mark) + offset, *numbers)
    return bytes(changed)


def flac(num_samples: int, channels: int = 1) -> bytes:
    """That claims num_samples < 2**36: the last 36 bits of the 18th byte of STREAMINFO, behind rate, channels, bits."""
    content = audio(("FLAC", "PCM_16"), 60, channels)
    at = content.index(b"fLaC") + 18
    field = int.from_bytes(content[at : at + 8], "big") >> 36 << 36 | num_samples
    return content[:at] + field.to_bytes(8, "big") + content[at + 8 :]


def endless(ogg: bytes) -> bytes:
    """Whose last page claims to end at sample 2**40."""
    at = ogg.rindex(b"OggS") + 6
    return ogg[:at] + (2**40).to_bytes(8, "little") + ogg[at + 8 :]


LYING = {
    "flac-4-GB": flac(2**30),
    "flac-stereo-2-GB": flac(2**28, 2),
    "flac-256-GB": flac(2**36 - 1),
    "flac-2-TB-of-8-channels": flac(2**36 - 1, 8),
    "flac-of-any-length": flac(0),
    "wav-4-GB": patched(audio(KINDS[0]), b"data", 0, "<I", 2**32 - 1),
    "riff-and-data-4-GB": patched(patched(audio(KINDS[0]), b"data", 0, "<I", 2**32 - 2), b"RIFF", 0, "<I", 2**32 - 1),
    "wav-data-2-GB": patched(audio(KINDS[0]), b"data", 0, "<I", 2**31 - 2),
    "wav-ulaw-4-GB": patched(audio(("WAV", "ULAW")), b"fact", 4, "<I", 2**32 - 1),
    "adpcm-4-GB": patched(audio(("WAV", "IMA_ADPCM")), b"fact", 4, "<I", 2**32 - 1),
    "adpcm-block": patched(audio(("WAV", "IMA_ADPCM")), b"fmt ", 16, "<H", 65535),
    "wav-65535-channels": patched(audio(KINDS[0]), b"fmt ", 6, "<H", 65535),
    "wav-1024-channels": patched(audio(KINDS[0], 5000), b"fmt ", 6, "<H", 1024),
    "wav-1-Hz": patched(audio(KINDS[0], 20_000), b"fmt ", 8, "<I", 1),
    "wav-2**31-Hz": patched(audio(KINDS[0], 20_000), b"fmt ", 8, "<I", 2**31 - 1),
    "wavex-4-GB": patched(audio(("WAVEX", "PCM_24")), b"data", 0, "<I", 2**32 - 1),
    "rf64-1-TB": patched(audio(("RF64", "PCM_16")), b"ds64", 4, "<QQQ", 2**40, 2**40, 2**39),
    "w64-1-TB": patched(audio(("W64", "PCM_16")), b"data", 12, "<Q", 2**40),
    "caf-1-TB": patched(audio(("CAF", "PCM_16")), b"data", 0, ">Q", 2**40),
    "aiff-4-GB": patched(patched(audio(("AIFF", "PCM_16")), b"COMM", 6, ">I", 2**32 - 1), b"SSND", 0, ">I", 2**32 - 1),
    "au-4-GB": patched(audio(("AU", "PCM_16")), b".snd", 4, ">I", 2**32 - 2),
    "ogg-1-T-samples": endless(audio(("OGG", "VORBIS"))),
    "opus-1-T-samples": endless(audio(("OGG", "OPUS"))),
    "ark-4-GB.ark": patched(audio(KINDS[0]), b"RIFF", 0, "<I", 2**32 - 1),
    "audio-1-TB.ark": b"AUDIO\x08" + (2**40).to_bytes(8, "little") + flac(2**30),
}  # fmt: skip

# VmHWM and not ru_maxrss, which begins with what the parent had. The limit keeps broken code from taking the machine.
READ_ALL = """
import resource, sys
import test_hostile_audio as fuzz

def memory(field):  # MiB
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field + ":")) / 1024

fuzz.Path("good").write_bytes(fuzz.audio(fuzz.KINDS[0], 60, 2, 8000))
fuzz.use("good")  # loads all that is loaded late
limit = int((memory("VmSize") + float(sys.argv[1])) * 2**20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for entry in sys.argv[2:]:
    before = memory("VmHWM")
    fuzz.use(entry)
    fuzz.use(entry, "r 0.001 60000")
    fuzz.use(entry, "r 20000 20030")
    print(entry, memory("VmHWM") - before)
"""


@pytest.mark.parametrize("limit", [1024, 12288], ids=["in-1-GB", "in-12-GB"])
def test_memory_does_not_grow_with_what_a_header_claims(limit):
    """With 1 GB of addresses, 4 GB cannot be reserved; with 12 GB they can, and must not be touched."""
    for name, content in LYING.items():
        Path(name).write_bytes(content)
    entries = [f"{name}:0" if name.endswith(".ark") else name for name in LYING]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", READ_ALL, str(limit), *entries]
    child = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (child.returncode, child.stderr) == (0, "")
    grown = {line.split()[0]: float(line.split()[1]) for line in child.stdout.splitlines() if len(line.split()) == 2}
    assert grown.keys() == set(entries)
    assert max(grown.values()) < 32, grown  # MiB; 4 GB of samples would be 4096, the 1 Hz file resampled 1200


def test_a_header_that_claims_days_does_not_pass_stage_1(tmp_path):
    (tmp_path / "a.flac").write_bytes(flac(2**36 - 2))
    kaldi.write_dir(tmp_path / "data", {"wav.scp": {"u": str(tmp_path / "a.flac")}, "utt2spk": {"u": "s"}})
    for read in (audio_info, load_audio, lambda *_: format_data(tmp_path / "data", tmp_path / "dump")):
        with pytest.raises(UserError, match="u: .*a.flac: [0-9]+ s; allowed are 8389 s in one utterance"):
            read(str(tmp_path / "a.flac"), "u")


def test_hours_in_a_small_file_are_refused_unless_segments_cut_them(tmp_path):
    samples = np.zeros(MOST_SAMPLES + 160_000, dtype=np.int16)
    samples[8000 * 16000 :][:8000] = np.random.default_rng(0).integers(-9000, 9000, 8000)
    soundfile.write(tmp_path / "a.flac", samples, 16000)
    with pytest.raises(UserError, match="8399 s; allowed are 8389 s in one utterance: cut it with segments"):
        load_audio(str(tmp_path / "a.flac"), "u")
    data = {"wav.scp": {"r": str(tmp_path / "a.flac")}, "segments": {"u": "r 8000 8000.5"}, "utt2spk": {"u": "s"}}
    kaldi.write_dir(tmp_path / "data", data)
    format_data(tmp_path / "data", tmp_path / "dump")
    assert kaldi.read_table(tmp_path / "dump/utt2num_samples") == {"u": "8000"}
