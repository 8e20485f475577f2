"""Batches in the order of a plan, read ahead by processes, augmented."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np
import torch

from whisper_er.base.errors import first_few
from whisper_er.batch import Batch
from whisper_er.data.augment import Change
from whisper_er.data.collate import collate
from whisper_er.data.shared_memory import BatchSlots, Parked, SampleCache
from whisper_er.data.utterances import Utterance
from whisper_er.process import ahead
from whisper_er.process.stop import never
from whisper_er.text.tokenizer import Tokenizer

READ_AHEAD = 2  # batches of each worker
ADVICE = "set num_workers=0, lower batch_size (in training also cache_gb), or look at this audio"
# index, number of its repeat in the epoch, the utterance, its samples -> both, with another utterance in them or not
Overlay = Callable[[int, int, Utterance, np.ndarray], tuple[Utterance, np.ndarray]]


class Batches:
    """Number of a batch in the plan -> the Batch, left in its slot if there are slots. The plan, of draws as
    sampling.py has them, is in two arrays, which forked processes share; of a list that they read, each would copy the
    reference counts."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        plan: list[list[int]],
        tokenizer: Tokenizer,
        max_target: int,
        change: Change | None,
        cache: SampleCache | None,
        slots: BatchSlots | None,
        overlay: Overlay | None,
    ) -> None:
        self.utterances, self.tokenizer, self.max_target = utterances, tokenizer, max_target
        self.draw_N = np.fromiter(chain.from_iterable(plan), np.int64)
        self.start_M1 = np.cumsum([0, *map(len, plan)])
        self.change, self.cache, self.slots, self.overlay = change, cache, slots, overlay

    def read(self, number: int) -> Batch | Parked:
        indices = self.indices(number)
        chosen = [self.utterances[index] for index in indices]
        waves = self.cache and [self.cache.load(index, utt.audio, utt.utt_id) for index, utt in zip(indices, chosen)]
        repeats = (self.draws(number) // len(self.utterances)).tolist()
        if self.overlay:
            chosen, waves = zip(*map(self.overlay, indices, repeats, chosen, waves))
        batch = collate(chosen, self.tokenizer, self.max_target, self.change, waves, repeats)
        return self.slots.park(batch, number) if self.slots else batch

    def indices(self, number: int) -> list[int]:
        return (self.draws(number) % len(self.utterances)).tolist()

    def draws(self, number: int) -> np.ndarray:
        return self.draw_N[self.start_M1[number] : self.start_M1[number + 1]]

    def describe(self, number: int) -> str:
        return f"the audio of {first_few(self.utterances[index].utt_id for index in self.indices(number))}"


def load(
    utterances: Sequence[Utterance],
    plan: list[list[int]],
    tokenizer: Tokenizer,
    max_target: int,
    num_workers: int,
    device: torch.device,
    change: Change | None = None,
    cache: SampleCache | None = None,
    stop: Callable[[], bool] = never,
    overlay: Overlay | None = None,
) -> Iterator[Batch]:
    """Batches in the order of the plan, read ahead by `num_workers` processes (0: in this one), and augmented. An
    overlay needs a cache.

    On the CPU, pinned if the device is a GPU. Raises the UserError of a batch that cannot be read, and GivenUp where
    one does not come and stop() is True.
    """
    # While a batch is used, READ_AHEAD of each worker are read.
    slots, depth, pinned = None, num_workers * READ_AHEAD + 1, device.type == "cuda"
    if num_workers:
        voted = utterances[0].votes if plan else {}
        num_labels = max((len(task.labels) for task in tokenizer.tasks if task.name in voted), default=0)
        slots = BatchSlots(depth, max(map(len, plan), default=0), max_target, len(tokenizer.tasks), num_labels)
    if cache:
        cache.start_epoch()
    batches = Batches(utterances, plan, tokenizer, max_target, change, cache, slots, overlay)
    job = ahead.Job(batches.read, len(plan), batches.describe, ADVICE, partial(torch.set_num_threads, 1))
    for item in ahead.results(job, num_workers, depth, stop):
        if isinstance(item, Parked):
            yield slots.take(item, pinned)
        else:
            yield item.pin_memory() if pinned else item
