"""Two utterances at once with the labels of both (`augment.mix`): mixup (Zhang et al., 2018), in the form that
between-class learning gives it for sounds (Tokozume et al., 2018).

Another utterance of the training set is laid over one, at a signal-to-noise ratio that is drawn, 0 dB and more: the
first is the louder one. It keeps its length, its text, and its labels of all tasks but those of loss.soft_labels. The
target of these is both utterances' targets, each by its share of the amplitude: of 0, 6 and 20 dB the first has 0.50,
0.67 and 0.91. For two of the same level that is mixup's lambda.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from whisper_er.audio.reading import to_float
from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.config import MAX_SAMPLES, TrainConfig
from whisper_er.data.augment import Mix
from whisper_er.data.batches import Overlay
from whisper_er.data.collate import with_most_voted
from whisper_er.data.shared_memory import SampleCache
from whisper_er.data.utterances import Utterance, Utterances
from whisper_er.data.votes import parse_votes, shares, soft_tasks, written
from whisper_er.task import Task

OWN_DRAWS = 2**16  # behind the seed of an utterance: the other augmentations draw the same with mix and without
PARTS = 1_000_000  # votes of a mixed utterance


class Mixing:
    """Lays utterances of a training set over each other. Both need a label, or votes, for all tasks that are mixed."""

    def __init__(
        self, options: Mix, seed: int, utterances: Utterances, tasks: Sequence[Task], cache: SampleCache
    ) -> None:
        self.options, self.seed, self.utterances = options, seed, utterances
        self.tasks, self.cache = tasks, cache
        known_KN = [
            [bool(label or votes) for label, votes in zip(utterances.values[task.name], utterances.votes[task.name])]
            for task in tasks
        ]
        self.mixable_M = np.flatnonzero(np.all(known_KN, axis=0))
        if len(self.mixable_M) < 2:
            raise UserError(
                f"augment.mix: {len(self.mixable_M)} training utterances have a label for "
                f"{' '.join(task.name for task in tasks)}, and it takes two to mix"
            )

    def epoch(self, number: int) -> Overlay:
        return partial(self.overlay, number)

    def overlay(
        self, epoch: int, index: int, repeat: int, utt: Utterance, wave: np.ndarray
    ) -> tuple[Utterance, np.ndarray]:
        """The utterance of this index and its samples, with another one in both or as they are."""
        random = np.random.default_rng([self.seed, epoch, *utt.utt_id.encode(), 256 + repeat, OWN_DRAWS])
        place = int(np.searchsorted(self.mixable_M, index))
        is_mixable = place < len(self.mixable_M) and self.mixable_M[place] == index
        if random.random() >= self.options.share or not is_mixable:
            return utt, wave
        step = 1 + int(random.integers(len(self.mixable_M) - 1))  # never itself
        other_index = int(self.mixable_M[(place + step) % len(self.mixable_M)])
        other = self.utterances[other_index]
        snr = random.uniform(*self.options.snr)
        own, added = (
            to_float(samples[:MAX_SAMPLES])
            for samples in (wave, self.cache.load(other_index, other.audio, other.utt_id))
        )
        mixed = add(own, added, snr, random)
        return (utt, wave) if mixed is None else (self.with_both_labels(utt, other, snr), mixed)

    def with_both_labels(self, utt: Utterance, other: Utterance, snr: float) -> Utterance:
        utt, own_share, votes = with_most_voted(utt, self.tasks), 1 / (1 + 10 ** (-snr / 20)), {}
        for task in self.tasks:
            first_C, second_C = (
                np.array(shares(parse_votes(one.votes[task.name]), one.values[task.name], task)) for one in (utt, other)
            )
            parts_C = np.rint(PARTS * (own_share * first_C + (1 - own_share) * second_C)).astype(int)
            votes[task.name] = written({label: int(part) for label, part in zip(task.labels, parts_C) if part})
        return replace(utt, votes=utt.votes | votes)


def add(own: np.ndarray, other: np.ndarray, snr: float, random: np.random.Generator) -> np.ndarray | None:
    """float32, as long as `own`: the sum with `other` turned to `snr` dB below it. None where one of them is silent.

    A shorter one begins somewhere within, of a longer one a stretch is taken; levels are those of what is heard.
    """
    start = int(random.integers(abs(len(own) - len(other)) + 1))
    if len(other) > len(own):
        start, other = 0, other[start : start + len(own)]
    power, other_power = (np.mean(samples.astype(np.float64) ** 2) for samples in (own, other))
    if not power or not other_power:
        return None
    mixed = own.astype(np.float64)
    mixed[start : start + len(other)] += other * np.sqrt(power / other_power / 10 ** (snr / 10))
    return mixed.astype(np.float32)


def make_mixing(
    config: TrainConfig, utterances: Utterances, tasks: Sequence[Task], cache: SampleCache
) -> Mixing | None:
    """What the configuration asks for; None where it does not."""
    if "mix" not in config.augment:
        return None
    options = build(Mix, config.augment["mix"], "augment.mix")
    return Mixing(options, config.seed, utterances, soft_tasks(tasks, config.loss.soft_labels), cache)
