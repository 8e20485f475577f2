"""A recording of any format, rate, number of channels and length -> utterances at 16 kHz, mono."""

import os

import numpy as np
import pytest
import soundfile

from whisper_er.base.errors import UserError
from whisper_er.recognize import recordings
from whisper_er.recognize.recordings import open_recording


def tone(seconds: float, rate: int = 16000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def speech(rate: int = 16000) -> np.ndarray:
    """41 s: tones from 1 to 3, 4 to 6, 30 to 40 s."""
    wave = np.zeros(41 * rate, dtype=np.float32)
    for start, end in ((1, 3), (4, 6), (30, 40)):
        wave[start * rate : end * rate] = tone(end - start, rate)
    return wave


def spans(found) -> list[tuple[float, float]]:
    return [(start, end) for start, end, _ in found.utterances()]


@pytest.mark.parametrize("name, rate, subtype", [
    ("a.wav", 16000, "PCM_16"), ("a.wav", 44100, "FLOAT"), ("a.flac", 11025, "PCM_24"), ("a.ogg", 48000, "VORBIS"),
    ("a.opus", 48000, "OPUS"), ("a.mp3", 22050, "MPEG_LAYER_III"), ("a.aiff", 8000, "PCM_16"),
])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2])
def test_any_format_rate_and_number_of_channels_gives_the_tone_at_16_khz(tmp_path, name, rate, subtype, channels):
    samples = np.stack([tone(1, rate)] * channels, axis=1)
    container = "OGG" if name.endswith("opus") else None
    soundfile.write(tmp_path / name, samples, rate, subtype=subtype, format=container)
    found = open_recording(tmp_path / name)
    ((start, end, wave),) = found.utterances()
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert (start, end) == (0, pytest.approx(1, abs=0.06)) and len(wave) == pytest.approx(16000, abs=1000)
    spectrum = np.abs(np.fft.rfft(wave[2000:14000]))
    assert spectrum.argmax() * 16000 / 12000 == pytest.approx(440, abs=2)
    assert np.abs(wave).max() == pytest.approx(0.3, abs=0.05)


def test_channels_are_averaged(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(1), -0.5 * tone(1)], axis=1), 16000)
    ((*_, wave),) = open_recording(tmp_path / "a.wav").utterances()
    assert np.abs(wave - tone(1) / 4).max() < 1e-4  # of 16 bits
    assert capsys.readouterr() == ("", "")


def test_of_channels_that_cancel_out_the_loudest_is_taken_and_named(tmp_path, capsys):
    samples = np.stack([0.9 * tone(1), -tone(1)], axis=1)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    for audio, rate in ((tmp_path / "a.wav", None), (samples, 16000)):
        ((*_, wave),) = open_recording(audio, rate).utterances()
        assert (wave == -tone(1)).all()
        name = audio if rate is None else "audio"
        assert capsys.readouterr().err.startswith(f"{name}: only channel 2, the loudest, is used, because the mean of ")


def test_the_channel_of_a_long_recording_does_not_change_on_the_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recordings, "BLOCK", 1)
    left, right = speech(), -speech()
    right[30 * 16000 :] = 0  # the channels cancel out only before
    left[30 * 16000 :] *= 0.01
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    found = open_recording(tmp_path / "a.wav", longest=30)
    assert capsys.readouterr().err.count("only channel 1, the loudest") == 1
    alone = list(open_recording(left, 16000, longest=30).utterances())
    for (*one, wave), (*other, expected) in zip(found.utterances(), alone, strict=True):
        assert one == other and (wave == expected).all()


def test_a_long_recording_is_split_at_its_pauses_with_their_times(tmp_path):
    soundfile.write(tmp_path / "a.flac", speech(22050), 22050)
    found = open_recording(tmp_path / "a.flac")
    assert found.seconds == 41
    assert np.array(spans(found)) == pytest.approx(np.array([(0.9, 3.1), (3.9, 6.1), (29.9, 40.1)]), abs=0.03)
    for start, end, wave in found.utterances():
        assert len(wave) == pytest.approx((end - start) * 16000, abs=1)


def test_samples_and_the_file_that_holds_them_give_the_same_utterances(tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(), 16000, subtype="FLOAT")
    from_file, from_samples = open_recording(tmp_path / "a.wav"), open_recording(speech(), 16000)
    for (*one, wave), (*other, same) in zip(from_file.utterances(), from_samples.utterances(), strict=True):
        assert one == other and (wave == same).all()


def test_utterances_of_an_mp3_are_those_of_the_file_read_at_once(tmp_path):
    """Decoding a frame takes the ones before it: after a mere jump the first 0.1 s would be wrong."""
    random = np.random.default_rng(0)
    wave = np.concatenate([part for _ in range(6) for part in (random.normal(0, 0.1, 64000), np.zeros(32000))])
    soundfile.write(tmp_path / "a.mp3", wave, 16000)
    whole = soundfile.read(tmp_path / "a.mp3", dtype="float32")[0]
    found = list(open_recording(tmp_path / "a.mp3").utterances())
    assert len(found) == 6
    for start, end, samples in found:
        assert np.abs(samples - whole[round(start * 16000) : round(end * 16000)]).max() < 1e-6


@pytest.mark.parametrize("seconds", [2, 41])
def test_what_cannot_seek_is_read_all_the_same(tmp_path, seconds):
    wave = speech(8000)[: seconds * 8000]
    soundfile.write(tmp_path / "phone.wav", wave, 8000, subtype="GSM610")
    found = open_recording(tmp_path / "phone.wav")
    assert found.seconds == pytest.approx(seconds, abs=0.1) and len(found.spans) == (1 if seconds < 30 else 3)
    assert np.abs(next(found.utterances())[2]).max() == pytest.approx(0.3, abs=0.05)


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path):
    path = tmp_path / os.fsdecode(b"bad\xff.wav")
    path.write_bytes(b"RIFF")
    with pytest.raises(UserError, match="its name is not UTF-8"):
        open_recording(path)


def test_the_split_does_not_depend_on_the_blocks_that_are_read(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", speech(11025), 11025)
    whole = open_recording(tmp_path / "a.wav").spans
    monkeypatch.setattr(recordings, "BLOCK", 1)
    assert open_recording(tmp_path / "a.wav").spans == whole


def test_utterances_are_no_longer_than_asked_for():
    found = spans(open_recording(speech(), 16000, longest=2.0))
    assert max(end - start for start, end in found) <= 2.0
    assert len(found) > 6


def test_split_always_and_never():
    short = np.concatenate([tone(1), np.zeros(16000, np.float32), tone(1)])
    assert spans(open_recording(short, 16000)) == spans(open_recording(short, 16000, "never")) == [(0, 3)]
    assert len(spans(open_recording(short, 16000, "always"))) == 2
    with pytest.raises(UserError, match=r"audio: 41.0 s; one utterance has at most 30 s"):
        open_recording(speech(), 16000, "never")


def test_thirty_seconds_are_one_utterance_and_a_sample_more_is_split():
    assert spans(open_recording(tone(30), 16000)) == [(0, 30)]
    assert len(spans(open_recording(np.append(tone(30), np.float32(0)), 16000))) > 1


@pytest.mark.parametrize("seconds, split", [(40, "auto"), (2, "auto"), (2, "always"), (2, "never")])
def test_a_silent_recording_has_no_utterances(seconds, split):
    assert open_recording(np.full(seconds * 16000, 0.1, np.float32), 16000, split).spans == []


@pytest.mark.parametrize("samples", [1, 10, 160, 1400])
def test_what_is_no_longer_than_a_click_has_no_utterances(samples):
    assert open_recording(tone(1)[50 : 50 + samples], 16000).spans == []


def test_what_is_quiet_is_recognized_whole():
    quiet = np.zeros(32000)
    quiet[8000:12000] = np.random.default_rng(0).laplace(0, 7e-4, 4000)  # peaks at -45 dB
    assert spans(open_recording(quiet, 16000)) == [(0, 2)]
    assert open_recording(np.round(quiet * 2**15).astype(np.int16), 16000).spans == [(0, 32000)]


def test_pauses_are_found_over_an_offset_and_hum():
    wave = speech() + np.random.default_rng(0).normal(0, 1e-4, 41 * 16000)
    wave[4 * 16000 : 6 * 16000] *= 0.03
    time = np.arange(len(wave)) / 16000
    wave += 0.0015 + 0.05 * time / 41 + 0.01 * np.sin(2 * np.pi * 50 * time)
    expected = [(0.9, 3.1), (3.9, 6.1), (29.9, 40.1)]
    for samples in (wave, np.round(wave * 2**15).astype(np.int16)):
        assert np.array(spans(open_recording(samples, 16000))) == pytest.approx(np.array(expected), abs=0.03)


def test_integers_are_scaled_by_their_range():
    ((*_, wave),) = open_recording(np.tile([-(2**14), 2**13], 8000).astype(np.int16), 16000).utterances()
    assert (wave == np.tile([-0.5, 0.25], 8000)).all()


@pytest.mark.parametrize("samples, rate, message", [
    (tone(1), None, "sampling_rate=None"), (tone(1), 10, "sampling_rate=10"),
    (tone(1), 16000.5, "sampling_rate=16000.5"), (tone(1)[:0], 16000, r"shape \(0,\)"),
    (tone(1)[None], 16000, r"shape \(1, 16000\); allowed are \(samples,\) and \(samples, channels\)"),
    (tone(1)[None, None], 16000, "shape"), (tone(1) * 32767, 16000, "samples up to 98"),
    (np.full(100, np.nan), 16000, "samples up to nan"), (np.full(100, "a"), 16000, "an array of <U1"),
    (np.full(100, 9000), 16000, r"an array of int64; allowed are int16 and floats in \[-1, 1\].* divide by"),
    (np.full(100, 9000, np.int32), 16000, "an array of int32"),
])  # fmt: skip
def test_what_are_no_samples_is_refused(samples, rate, message):
    with pytest.raises(UserError, match=message):
        open_recording(samples, rate)


def test_a_file_says_its_own_rate(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1), 16000)
    with pytest.raises(UserError, match="leave it out"):
        open_recording(tmp_path / "a.wav", 16000)


@pytest.mark.parametrize("content", [b"", b"hello", b"RIFF\0\0\0\0WAVE"])
def test_what_is_not_audio_is_one_line_with_its_name(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(UserError, match="a.wav"):
        open_recording(tmp_path / "a.wav")
