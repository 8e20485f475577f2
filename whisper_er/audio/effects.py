"""What a room and a telephone do to speech. float32 (S,) at 16 kHz in, the same out."""

import numpy as np

from whisper_er.config import SAMPLE_RATE

# Hz, of a telephone: silence below the first, all of it from the second to the third, silence above the fourth. The
# band is that of narrow-band telephony, 300 to 3400 Hz; its edges fall as half a cosine, so that they do not ring.
BAND = (200.0, 300.0, 3400.0, 3900.0)
MU = 255  # of mu-law (ITU-T G.711)
STEPS = 127  # on each side of zero, in 8 bits with a sign


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve with the impulse response of a room, float32 (R,), which is not silent.

    The direct path, the loudest sample of the response, stays where it is in time: nothing is shifted. What would sound
    on after the end is cut off, and the level (RMS) stays that of the samples.
    """
    direct = int(np.abs(response).argmax())
    response = response[: direct + len(samples)].astype(np.float64)  # what comes later falls behind the end
    size = fast_size(len(samples) + len(response) - 1)
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * np.fft.rfft(response, size)
    wet = np.fft.irfft(spectrum, size)[direct : direct + len(samples)]
    energy = (wet**2).sum()
    if not energy:
        return samples
    return (wet * np.sqrt((samples.astype(np.float64) ** 2).sum() / energy)).astype(np.float32)


def telephone(samples: np.ndarray, mu_law: bool) -> np.ndarray:
    """What is left of speech that was sampled at 8 kHz in the band of a telephone; mu_law: in 8 bits as well."""
    size = fast_size(len(samples) + SAMPLE_RATE // 10)  # room for the filter to ring out before it comes round
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    gain = np.interp(frequency, BAND, [0, 1, 1, 0])
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * np.sin(np.pi / 2 * gain) ** 2
    if mu_law:  # half the spectrum is the signal at half the rate
        coarse = quantize(np.fft.irfft(spectrum[: size // 4 + 1], size // 2) / 2)
        spectrum = np.append(np.fft.rfft(coarse) * 2, np.zeros(size // 4))
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def quantize(samples: np.ndarray) -> np.ndarray:
    """Mu-law in 8 bits and back, of samples in [-1, 1]; louder ones are clipped."""
    compressed = np.log1p(MU * np.abs(samples).clip(max=1)) / np.log1p(MU)
    return np.sign(samples) * np.expm1(np.round(compressed * STEPS) / STEPS * np.log1p(MU)) / MU


def fast_size(least: int) -> int:
    """The power of two from `least` on, which is fast to transform."""
    return 1 << max(2, (least - 1).bit_length())
