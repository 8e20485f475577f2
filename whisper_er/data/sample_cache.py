"""Decoded audio of a corpus, kept in memory that the processes that read share."""

import mmap

import numpy as np

from whisper_er.config import MAX_SAMPLES
from whisper_er.data.audio import decode, plain_samples


class SampleCache:
    """Loads utterances, and keeps the 16-bit samples of those that have to be decoded, as far as they fit.

    Made before the processes are forked, and used by those of every epoch. Each utterance has its place, so nothing is
    locked: a flag says that its samples are there. An epoch reads an utterance once, and the next epoch's processes
    start when those before have ended, so nobody reads a place while it is written. Memory is taken as samples come.
    What is beyond max_bytes has no place, and is decoded each time.
    """

    def __init__(self, num_samples_N: np.ndarray, max_bytes: float) -> None:
        self.start_N1 = np.concatenate([[0], np.minimum(num_samples_N, MAX_SAMPLES).cumsum()])
        self.fitting = int(np.searchsorted(self.start_N1, max_bytes // 2, side="right")) - 1  # the first utterances
        self.samples_X = shared_array(int(self.start_N1[self.fitting]), "int16")
        self.kept_N = shared_array(self.fitting, "bool")

    def load(self, index: int, entry: str, utt_id: str) -> np.ndarray:
        """As load_samples, for the utterance of this index; not to be changed."""
        place_S = self.samples_X[self.start_N1[index] : self.start_N1[index + 1]] if index < self.fitting else None
        if place_S is not None and self.kept_N[index]:
            return place_S
        samples = plain_samples(entry, utt_id)
        if samples is None:
            samples = decode(entry, utt_id)[:MAX_SAMPLES]
            if place_S is not None and samples.dtype == place_S.dtype and len(samples) == len(place_S):
                place_S[:] = samples
                self.kept_N[index] = True
        return samples


def shared_array(size: int, dtype: str) -> np.ndarray:
    """Zeros that forked processes share; it is in no file system, so that no limit of /dev/shm applies."""
    dtype = np.dtype(dtype)
    return np.frombuffer(mmap.mmap(-1, max(1, size * dtype.itemsize)), dtype, size)
