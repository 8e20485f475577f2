"""Frame levels -> utterances. Numbers are frames of 10 ms."""

import numpy as np
import pytest

from whisper_er.audio.loudness import is_silent, levels
from whisper_er.recognize import pauses


def loud(*spans, length=1000, quiet=-70.0) -> np.ndarray:
    """Levels of -20 dB in these spans, else `quiet`."""
    level_N = np.full(length, quiet, dtype=np.float32)
    for start, end in spans:
        level_N[start:end] = -20
    return level_N


def test_levels_are_the_rms_of_each_frame_in_decibels():
    samples = np.concatenate([np.tile([0.1, -0.1], 80), np.zeros(160), np.tile([1, -1], 40)]).astype(np.float32)
    assert levels(samples, 160) == pytest.approx([-20, -120, 0], abs=0.02)


def test_levels_are_those_of_the_residual_of_a_polynomial():
    samples = np.random.default_rng(0).normal(0, 0.1, 500).astype(np.float32)
    for frame, level in zip(np.split(samples, [160, 320, 480]), levels(samples, 160), strict=True):
        fitted = np.polynomial.Polynomial.fit(np.arange(len(frame)), frame, 5)(np.arange(len(frame)))
        assert level == pytest.approx(20 * np.log10(np.std(frame - fitted)), abs=0.01)


SECONDS = np.arange(2 * 16000) / 16000
HUM = 10 ** (-50 / 20) * np.sqrt(2) * np.sin(2 * np.pi * np.outer([50, 60, 100], SECONDS))  # -50 dB
NOISE = np.random.default_rng(0).normal(0, 1e-4, 2 * 16000)
NO_SOUND = {
    "zeros": np.zeros(100), "one sample": np.ones(1), "one bit": (NOISE > 0) / 2**15, "noise": NOISE,
    "an offset": np.full(2000, 0.3), "an offset in part": 0.01 * (SECONDS > 1), "drift": 0.02 * np.sin(SECONDS),
    "50 Hz": HUM[0], "60 Hz": HUM[1], "100 Hz": HUM[2],
}  # fmt: skip


@pytest.mark.parametrize("name", NO_SOUND)
def test_neither_an_offset_nor_hum_is_sound_or_covers_one(name):
    samples = NO_SOUND[name]
    assert is_silent([samples], 16000)
    voice = np.random.default_rng(1).normal(0, 0.001, 1700)  # 0.1 s, 20 dB above the noise
    assert not is_silent([samples, voice, np.zeros(1)], 16000)
    if len(samples) == len(SECONDS):
        assert levels(samples[:1600] + voice[:1600], 160) == pytest.approx(levels(voice[:1600], 160), abs=0.5)


def test_what_comes_after_the_first_sound_is_not_read():
    def blocks():
        yield np.zeros(16000)
        yield np.random.default_rng(0).normal(0, 0.1, 1600)
        raise AssertionError("read on")

    assert not is_silent(blocks(), 16000)


def test_a_long_pause_splits_and_a_short_one_does_not():
    assert pauses.utterances(loud((100, 200), (249, 300), (350, 400)), 3000) == [(90, 310), (340, 410)]


def test_margins_neither_overlap_nor_leave_the_recording():
    found = pauses.utterances(loud((5, 200), (250, 995)), 3000)
    assert found == [(0, 210), (240, 1000)]
    near = pauses.widen([(5, 100), (104, 995)], 10, 1000)
    assert near == [(0, 102), (102, 1000)]


def test_a_click_is_no_utterance():
    assert pauses.utterances(loud((100, 105), (300, 400)), 3000) == [(290, 410)]


@pytest.mark.parametrize("quiet", [-75.0, -50.0])
def test_a_few_seconds_of_speech_in_hours_of_silence_are_found(quiet):
    noise_N = quiet + np.random.default_rng(0).normal(0, 1, 2 * 360_000)
    noise_N[500_000:500_300] = -20
    assert pauses.utterances(noise_N, 1500) == [(499_990, 500_310)]


@pytest.mark.parametrize("length", [1501, 1515, 1600, 1875, 1876, 3001])
def test_the_last_part_of_what_is_cut_is_no_sliver(length):
    level_N = -20 + np.random.default_rng(0).normal(0, 1, length)
    level_N[-10:] = -40
    parts = pauses.cut_long((0, length), level_N, 1500)
    assert min(end - start for start, end in parts) >= 375 and max(end - start for start, end in parts) <= 1500


def test_silence_has_no_utterance():
    assert pauses.utterances(np.full(500, -80.0), 3000) == []
    assert pauses.utterances(np.full(500, -120.0), 3000) == []


def test_steady_sound_is_one_utterance():
    assert pauses.utterances(np.full(500, -20.0), 3000) == [(0, 500)]


def test_what_is_too_long_is_cut_where_it_is_quietest():
    level_N = loud((0, 1000))
    level_N[310:330] = -26  # too short for a pause
    level_N[90:110] = -30  # quieter, but it would leave a short piece
    (first, second) = pauses.utterances(level_N, 400)[:2]
    assert first[1] == second[0] == pytest.approx(320, abs=2)


@pytest.mark.parametrize("longest", [100, 101, 1500])
def test_no_part_is_longer_than_allowed_and_none_of_the_speech_is_lost(longest):
    random = np.random.default_rng(0)
    for _ in range(50):
        level_N = random.choice([-70.0, -20.0], size=1200, p=[0.3, 0.7]).astype(np.float32)
        level_N = np.repeat(level_N[:40], 30)
        found = pauses.utterances(level_N, longest)
        inside_N = np.zeros(len(level_N), dtype=int)
        for start, end in found:
            assert 0 < end - start <= longest
            inside_N[start:end] += 1
        assert inside_N.max() == 1, "parts overlap"
        assert inside_N[level_N > -30].all(), "speech outside of all parts"


def test_stretches_of_zeros_do_not_make_noise_speech():
    level_N = loud((300, 500), (700, 800), quiet=-45.0)
    level_N[:200] = -120
    assert pauses.utterances(level_N, 3000) == [(290, 510), (690, 810)]


def test_the_threshold_follows_the_noise():
    random = np.random.default_rng(0)
    level_N = np.where(loud((200, 400), (600, 800)) > -30, -20.0, -42.0) + random.normal(0, 1, 1000)
    assert pauses.utterances(level_N, 3000) == [(190, 410), (590, 810)]
