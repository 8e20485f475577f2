"""Several channels -> one: their mean, or the loudest where the mean is far below it. Axes: S samples, C channels."""

import numpy as np

# dB that the mean of the channels may be below the loudest. A dead channel costs the other one 6 dB, and where C people
# have a channel each, 10 log10(C) are lost: the mean stays, so that all are heard (up to 31). Where one channel of six
# or more is live, 20 log10(6) = 15.6 dB or more are lost; where channels cancel out, any number.
FAR_BELOW = 15.0


class ChannelPower:
    """The power of each channel of a recording and of their mean, without what is constant; added up over blocks."""

    def __init__(self) -> None:
        self.count, self.sum_C, self.product_CC = 0, np.zeros(1), np.zeros((1, 1))

    def add(self, samples: np.ndarray) -> None:
        """samples: (samples, channels)."""
        if samples.shape[1] == 1:
            return
        self.count += len(samples)
        for start in range(0, len(samples), 2**16):  # float64: a constant may be far larger than what is heard
            part_SC = samples[start : start + 2**16].astype(np.float64)
            self.sum_C = self.sum_C + np.ones(len(part_SC)) @ part_SC
            self.product_CC = self.product_CC + part_SC.T @ part_SC

    @property
    def channel(self) -> int | None:
        """The loudest channel, where the mean is FAR_BELOW it: channels cancel out, or most are dead. Else None."""
        covariance_CC = self.product_CC - np.outer(self.sum_C, self.sum_C) / max(1, self.count)
        power_C, of_mean = covariance_CC.diagonal(), covariance_CC.mean()
        loudest = int(np.argmax(power_C >= 0.99 * power_C.max()))  # of several, the first
        rounding = 1e-10 * self.product_CC[loudest, loudest]
        return loudest if max(of_mean, rounding) < power_C[loudest] / 10 ** (FAR_BELOW / 10) else None


def mix_down(samples: np.ndarray) -> tuple[np.ndarray, int | None]:
    """A whole recording, (samples, channels) -> (samples,): the mean of the channels; or one of them, and which it is
    (ChannelPower)."""
    power = ChannelPower()
    power.add(samples)
    channel = power.channel
    return pick(samples, channel), channel


def pick(samples: np.ndarray, channel: int | None) -> np.ndarray:
    """(samples, channels) -> (samples,): the channel, or the mean for None."""
    return samples.mean(axis=1) if channel is None else samples[:, channel].copy()
