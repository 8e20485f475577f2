"""whisper_er.audio.reading: files and ark entries against soundfile and kaldiio, and what bad audio gets."""

import io
import struct

import kaldiio
import numpy as np
import pytest
import soundfile

from whisper_er.audio.channels import ChannelPower, mix_down
from whisper_er.audio.reading import AudioInfo, audio_info, load_audio
from whisper_er.base.errors import UserError
from whisper_er.data.kaldi import read_table

RATE = 16000


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20000, 20000, num_samples, dtype=np.int16)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_file_is_read_as_float32_between_minus_one_and_one(tmp_path, suffix):
    path = tmp_path / f"with a space.{suffix}"
    soundfile.write(path, noise(1000), RATE, subtype="PCM_16")
    samples = load_audio(str(path), "u")
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, noise(1000) / 32768)
    assert audio_info(str(path), "u") == AudioInfo(RATE, 1, 1000)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"write_function": "soundfile", "write_kwargs": {"format": "wav"}},
        {"write_function": "soundfile", "write_kwargs": {"format": "flac"}},
    ],
    ids=["riff", "AUDIO wav", "AUDIO flac"],
)
def test_each_entry_of_an_ark_that_kaldiio_wrote_is_read_alone(tmp_path, how):
    utt_ids = ["u0", "u1", "data", "LIST", "u4"]  # data and LIST: also names of a chunk of a RIFF file
    written = {utt_id: (RATE, noise(500 + 300 * i, i)) for i, utt_id in enumerate(utt_ids)}
    kaldiio.save_ark(str(tmp_path / "a.ark"), written, scp=str(tmp_path / "wav.scp"), **how)
    entries = read_table(tmp_path / "wav.scp")
    for utt_id, (_, samples) in reversed(written.items()):
        np.testing.assert_array_equal(load_audio(entries[utt_id], utt_id), samples / 32768)
        assert audio_info(entries[utt_id], utt_id) == AudioInfo(RATE, 1, len(samples))


def test_a_pickle_in_an_ark_is_not_unpickled(tmp_path):
    how = {"write_function": "pickle"}
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": noise(10)}, scp=str(tmp_path / "wav.scp"), **how)
    with pytest.raises(UserError, match="cannot be read as audio"):
        load_audio(read_table(tmp_path / "wav.scp")["u"], "u")


def test_a_command_is_not_run(tmp_path):
    with pytest.raises(UserError, match="utt7: touch .*: a command"):
        load_audio(f"touch {tmp_path}/made |", "utt7")
    assert not (tmp_path / "made").exists()


def bad_audio(tmp_path):
    """Yield (entry, what the message says) for everything that has no usable samples."""
    yield str(tmp_path / "none.wav"), "no such file"
    yield str(tmp_path / "none.ark:7"), "no such file"
    yield str(tmp_path), "cannot be read as audio"
    (tmp_path / "empty.wav").touch()
    yield str(tmp_path / "empty.wav"), "the file is empty"
    (tmp_path / "text.wav").write_text("this is not audio")
    yield str(tmp_path / "text.wav"), "cannot be read as audio"
    (tmp_path / "headless.raw").write_bytes(noise(100).tobytes())
    yield str(tmp_path / "headless.raw"), "cannot be read as audio"
    soundfile.write(tmp_path / "zero.wav", noise(0), RATE)
    yield str(tmp_path / "zero.wav"), "audio of zero length"
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": (RATE, noise(100))})
    yield f"{tmp_path / 'a.ark'}:1", "cannot be read as audio"
    yield f"{tmp_path / 'a.ark'}:99999", "cannot be read as audio"


def test_audio_without_usable_samples_is_an_error_that_names_utterance_and_file(tmp_path):
    for entry, reason in bad_audio(tmp_path):
        for read in (audio_info, load_audio):
            with pytest.raises(UserError) as error:
                read(entry, "utt7")
            assert str(error.value).startswith(f"utt7: {entry}: {reason}"), error.value
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 1), (RATE, 2)])
def test_another_rate_or_stereo_points_to_stage_1(tmp_path, rate, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(200 * channels).reshape(-1, channels), rate)
    assert audio_info(str(path), "utt7") == AudioInfo(rate, channels, 200)
    with pytest.raises(UserError, match=rf"utt7: .*a.wav: {rate} Hz, {channels} channel.*stage 1"):
        load_audio(str(path), "utt7")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_not_a_number_is_an_error(tmp_path, value):
    soundfile.write(tmp_path / "a.wav", np.array([0.0, value, 0.5]), RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="utt7: .*NaN or infinite"):
        load_audio(str(tmp_path / "a.wav"), "utt7")


def test_a_flac_file_that_was_cut_short_is_an_error(tmp_path):
    soundfile.write(tmp_path / "a.flac", noise(50_000), RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"utt7: .*a\.flac: cut short|cannot be read"):
        load_audio(str(tmp_path / "a.flac"), "utt7")


def whole(kind: str, subtype: str) -> bytes:
    """2000 samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(2000), RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "subtype"), [
    ("WAV", "PCM_16"), ("WAVEX", "PCM_24"), ("WAV", "ULAW"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_24"),
    ("AU", "PCM_16"), ("NIST", "PCM_16"), ("SVX", "PCM_16"),
])  # fmt: skip
@pytest.mark.parametrize(("entry", "before"), [("a.wav", b""), ("a.ark:2", b"u "), ("a.ark:0", b"AUDIO\x02\xff\xff")])
def test_half_a_file_is_an_error_though_libsndfile_takes_it_for_a_whole(tmp_path, kind, subtype, entry, before):
    content = whole(kind, subtype)
    entry, path = str(tmp_path / entry), tmp_path / entry.partition(":")[0]
    path.write_bytes(before + content)
    assert audio_info(entry, "u").num_samples == len(load_audio(entry, "u")) == 2000
    half = content[: len(content) // 2 + 100]
    path.write_bytes(before + half)
    with soundfile.SoundFile(io.BytesIO(half)) as sound:
        message = f"u: {entry}: cut short: {sound.frames} of 2000 samples; restore the file"
    for read in (audio_info, load_audio):
        with pytest.raises(UserError) as error:
            read(entry, "u")
        assert str(error.value) == message


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFDB, 2**31, 0xFFFFFFDB, 2**32 - 1])
@pytest.mark.parametrize("riff_size", [0, 36, 2**32 - 1])
def test_a_wav_that_was_piped_and_leaves_its_length_open_is_read_to_the_end(tmp_path, size, riff_size):
    content = bytearray(whole("WAV", "PCM_16"))
    struct.pack_into("<I", content, 4, riff_size)
    struct.pack_into("<I", content, 40, size)
    (tmp_path / "a.wav").write_bytes(content)
    assert audio_info(str(tmp_path / "a.wav"), "u").num_samples == 2000
    np.testing.assert_array_equal(load_audio(str(tmp_path / "a.wav"), "u"), noise(2000) / 32768)


def test_a_header_that_counts_itself_as_samples_is_forgiven(tmp_path):
    content = bytearray(whole("WAV", "PCM_16"))
    struct.pack_into("<I", content, 40, len(content))
    (tmp_path / "a.wav").write_bytes(content)
    assert len(load_audio(str(tmp_path / "a.wav"), "u")) == 2000


@pytest.mark.parametrize(("content", "message"), [
    (b"\0\0\0\x20ftypM4A ", "MP4 (m4a, mp4, mov, 3gp); convert it: ffmpeg -i "),
    (b"\xff\xf1\x50\x80", "AAC; convert it: ffmpeg"), (b"\x1a\x45\xdf\xa3", "Matroska or WebM; convert it: ffmpeg"),
    (bytes.fromhex("3026b2758e66cf11"), "ASF (wma, wmv); convert it: ffmpeg"),
    (b"RIFF\x24\0\0\0AVI LIST", "AVI; convert it: ffmpeg"), (b"G".ljust(188, b"\n") + b"G", "an MPEG video or stream;"),
    (b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\n", "shorten (of SPHERE files); convert"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer; fetch the file itself: git"),
    (b"\n<!DOCTYPE html><html>", "an HTML page; the server"), (b"<?xml version='1.0'?><Error>", "XML; the server"),
    (b'{"error": "quota"}', "JSON; the server answered"), (b"PK\3\4", "a zip archive; unpack it"),
    (b"\x1f\x8b\x08", "a compressed file or archive; unpack it"), (b"this is not audio", "text; restore the file"),
    (bytes(300), "zeros where the header should be; restore the file"), (b"\x93NUMPY", "Format not recognised;"),
])  # fmt: skip
def test_what_is_no_audio_is_named_with_what_to_do(tmp_path, content, message):
    for name, before in (("a.wav", b""), ("a.ark:2", b"u ")):
        path = tmp_path / name.partition(":")[0]
        path.write_bytes(before + content)
        with pytest.raises(UserError) as error:
            audio_info(str(tmp_path / name), "u")
        assert str(error.value).startswith(f"u: {tmp_path / name}: cannot be read as audio: {message}")


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_integers_in_a_file_of_floats_are_an_error_with_their_size(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", np.array([0.0, -20000, 19000]), RATE, subtype=subtype)
    for read in (audio_info, load_audio):
        with pytest.raises(UserError, match=r"u: .*a.wav: samples up to 20000; allowed are floats in \[-1, 1\]"):
            read(str(tmp_path / "a.wav"), "u")
    soundfile.write(tmp_path / "a.wav", np.array([0, -2.5, 1.9]), RATE, subtype=subtype)
    assert audio_info(str(tmp_path / "a.wav"), "u").num_samples == len(load_audio(str(tmp_path / "a.wav"), "u"))


def channels(*gains: float) -> np.ndarray:
    """float32 (3000, channels): one noise, louder or less."""
    return (noise(3000)[:, None] / 32768 * np.array(gains)).astype(np.float32)


@pytest.mark.parametrize(("samples", "expected"), [
    (channels(1), None), (channels(1, 1), None), (channels(1, 0), None), (channels(0, 0), None),
    (channels(1, -0.6), None),  # 14 dB below
    (channels(1, -0.7), 0),  # 16.5 dB
    (channels(1, -1), 0), (channels(-0.5, 0.51), 1), (channels(0, 0, 0, 0, 1), None), (channels(*[0] * 7, 1), 7),
    (np.float32(0.2) + channels(1e-3, -1e-3), 0),  # what is constant is not heard
    (np.full((100, 2), 0.1, np.float32), None), (np.stack([noise(3000, n) / 32768 for n in range(20)], 1), None),
])  # fmt: skip
def test_the_loudest_channel_stands_in_where_the_mean_is_far_below_it(samples, expected):
    mono, channel = mix_down(samples)
    assert channel == expected
    np.testing.assert_array_equal(mono, samples.mean(axis=1) if expected is None else samples[:, expected])
    power = ChannelPower()
    for start in range(0, len(samples), 700):
        power.add(samples[start : start + 700])
    assert power.channel == expected
