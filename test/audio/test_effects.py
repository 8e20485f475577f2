"""Rooms and telephones: against numpy.convolve and cases by hand, in time and in level."""

import numpy as np
import pytest
from tiny_whisper import sound

from whisper_er.audio.effects import quantize, reverberate, telephone


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def test_a_response_by_hand():
    """Direct path of 2 at the second place, an echo of 1 two samples later, something of 1 before it."""
    wet = reverberate(np.array([1, 0, 0, 3], np.float32), np.array([1, 2, 0, 1], np.float32))
    expected = np.array([2, 0, 4, 6], np.float64)  # of 1 2 0 1+3 6 0 3, from the second place on
    expected *= np.sqrt(10 / (expected**2).sum())
    assert wet.dtype == np.float32 and wet == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("length, delay", [(50, 0), (3000, 700), (1, 0)])
def test_a_room_is_numpys_convolution_from_the_direct_path_on_at_the_level_of_the_speech(length, delay):
    samples, random = sound(2000, 1), np.random.default_rng(length)
    response = (random.normal(0, 0.1, length) * np.exp(-np.arange(length) / 400)).astype(np.float32)
    response[delay] = 1
    wet = reverberate(samples, response)
    expected = np.convolve(samples.astype(np.float64), response)[delay : delay + 2000]
    assert (wet.dtype, wet.shape) == (np.float32, samples.shape)
    assert wet == pytest.approx(expected * rms(samples) / rms(expected), abs=1e-6)
    assert rms(wet) == pytest.approx(rms(samples), rel=1e-5)


def test_a_response_of_one_sample_and_silence_change_nothing():
    samples = sound(500, 2)
    assert reverberate(samples, np.array([0, 0.3], np.float32)) == pytest.approx(samples, abs=1e-7)
    silence = np.zeros(500, np.float32)
    assert reverberate(silence, np.ones(3, np.float32)) is silence


@pytest.mark.parametrize("mu_law", [False, True])
def test_a_telephone_passes_its_band_alone_and_delays_nothing(mu_law):
    second = np.arange(16000) / 16000
    for hertz, gain in ((100, 0), (180, 0), (350, 1), (1000, 1), (3300, 1), (3950, 0), (6000, 0)):
        tone = (0.5 * np.sin(2 * np.pi * hertz * second)).astype(np.float32)
        middle = slice(4000, 12000)  # without the ends, where a tone is no tone
        heard = telephone(tone, mu_law)
        assert (heard.dtype, heard.shape) == (np.float32, tone.shape)
        assert heard[middle] == pytest.approx(gain * tone[middle], abs=0.02 if mu_law else 2e-3)


@pytest.mark.parametrize("length", [1, 2, 3, 159, 4001])
def test_a_telephone_keeps_every_length(length):
    assert all(len(telephone(sound(length, 1), mu_law)) == length for mu_law in (False, True))


def test_mu_law_by_hand():
    """A half is compressed to log(128.5) / log(256) = 0.8757, step 111 of 127: (256 ** (111 / 127) - 1) / 255."""
    values = quantize(np.array([0, 0.5, -0.5, 1, 3, 1e-6]))
    half = (256 ** (111 / 127) - 1) / 255
    assert values == pytest.approx([0, half, -half, 1, 1, 0], abs=1e-12)
    assert len(np.unique(quantize(np.linspace(-1, 1, 100001)))) == 255
