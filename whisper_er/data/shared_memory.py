"""Memory that the processes which read share with the one that trains: batches on their way, and decoded audio."""

import mmap
from dataclasses import dataclass, fields

import numpy as np
import torch

from whisper_er.audio.reading import decode, plain_samples
from whisper_er.base.errors import UserError
from whisper_er.batch import Batch
from whisper_er.config import MAX_SAMPLES

ALIGNMENT = 64  # bytes


@dataclass
class Parked:
    """A batch in a slot. places: field of Batch -> first byte, type and shape of its tensor; size: bytes in all."""

    utt_ids: list[str]
    number: int
    places: dict[str, tuple[int, torch.dtype, torch.Size]]
    size: int


class BatchSlots:
    """A way for batches, made before the processes are forked. The batch of number n is in slot n % slots.

    As torch sends them, each tensor of a batch is a file of its own in /dev/shm, which is made, sent over a socket and
    mapped: 4 to 6 ms a batch of 16 on two busy cores, through slots 0.4.

    A slot has room for float32 of 30 s and targets of max_target tokens; these are addresses, which take no memory
    until they are written.
    """

    def __init__(self, slots: int, batch_size: int, max_target: int, num_tasks: int, num_labels: int = 0) -> None:
        """num_labels: most of a task that has votes."""
        numbers = 2 + num_tasks + 4 * max_target  # int64: lengths, labels; input, target, task, learned positions
        size = (
            batch_size * (4 * MAX_SAMPLES + 8 * numbers + 4 * num_tasks * num_labels) + len(fields(Batch)) * ALIGNMENT
        )
        self.bytes_NX = torch.from_numpy(
            shared_array(slots * size, "uint8", "lower batch_size, or set num_workers=0")
        ).view(slots, size)

    def park(self, batch: Batch, number: int) -> Parked:
        """Leave a batch in its slot."""
        parked = Parked(batch.utt_ids, number, {}, 0)
        for name, tensor in batch.tensors().items():
            parked.places[name] = parked.size, tensor.dtype, tensor.shape
            part(self.slot(number), *parked.places[name]).copy_(tensor)
            parked.size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        return parked

    def take(self, parked: Parked, pinned: bool) -> Batch:
        """A copy of the batch, after which its slot may be used again. pinned: in memory that a GPU reads by itself."""
        own_X = torch.empty(parked.size, dtype=torch.uint8, pin_memory=pinned)
        own_X.copy_(self.slot(parked.number)[: parked.size])
        tensors = {name: part(own_X, *place) for name, place in parked.places.items()}
        tensors.pop("learned_N")  # follows from the others
        return Batch(parked.utt_ids, **tensors)

    def slot(self, number: int) -> torch.Tensor:
        return self.bytes_NX[number % len(self.bytes_NX)]


def part(bytes_X: torch.Tensor, start: int, dtype: torch.dtype, shape: torch.Size) -> torch.Tensor:
    """The tensor that begins at a byte; it is of the same storage, so that torch knows when a GPU has read it."""
    return bytes_X[start : start + shape.numel() * dtype.itemsize].view(dtype).view(shape)


class SampleCache:
    """Loads utterances, and keeps the 16-bit samples of those that have to be decoded, as far as they fit.

    Made before the processes are forked, and used by those of every epoch. Each utterance has its place, so nothing is
    locked: a flag says that its samples are there. An epoch's processes, which start when those before have ended, read
    what was there at its start, so nobody reads a place while it is written; where two of them decode an utterance that
    the epoch draws twice, both write the same. Memory is taken as samples come. What is beyond max_bytes has no place,
    and is decoded each time.
    """

    def __init__(self, num_samples_N: np.ndarray, max_bytes: float) -> None:
        self.start_N1 = np.concatenate([[0], np.minimum(num_samples_N, MAX_SAMPLES).cumsum()])
        self.fitting = int(np.searchsorted(self.start_N1, max_bytes // 2, side="right")) - 1  # the first utterances
        self.samples_X = shared_array(int(self.start_N1[self.fitting]), "int16", "lower cache_gb")
        self.kept_N = shared_array(self.fitting, "bool", "lower cache_gb")
        self.readable_N = self.kept_N.copy()

    def start_epoch(self) -> None:
        """What is kept may be read from now on. To be called while no process reads."""
        self.readable_N = self.kept_N.copy()

    def load(self, index: int, entry: str, utt_id: str) -> np.ndarray:
        """As load_samples, for the utterance of this index; not to be changed."""
        place_S = self.samples_X[self.start_N1[index] : self.start_N1[index + 1]] if index < self.fitting else None
        if place_S is not None and self.readable_N[index]:
            return place_S
        samples = plain_samples(entry, utt_id)
        if samples is None:
            samples = decode(entry, utt_id)[:MAX_SAMPLES]
            if place_S is not None and samples.dtype == place_S.dtype and len(samples) == len(place_S):
                place_S[:] = samples
                self.kept_N[index] = True
        return samples


def shared_array(size: int, dtype: str, advice: str) -> np.ndarray:
    """Zeros that forked processes share; it is in no file system, so that no limit of /dev/shm applies. UserError with
    the advice where there are no addresses for it."""
    dtype = np.dtype(dtype)
    num_bytes = max(1, size * dtype.itemsize)
    try:
        return np.frombuffer(mmap.mmap(-1, num_bytes), dtype, size)
    except (OSError, OverflowError):
        raise UserError(f"{num_bytes / 1e9:.1f} GB of memory cannot be reserved (ulimit -v); {advice}") from None
