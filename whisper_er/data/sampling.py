"""What an epoch draws: every utterance once, or each group of utterances by a rule.

A group is a value of the table utt2<by> of the training set. A rule takes the numbers of utterances of the groups, and
returns a weight for each: an epoch, which has as many draws as the set has utterances, divides them in proportion to
the weights. To add one: a function and a line of SAMPLINGS; its name is a value of `sampling.rule`.

A draw is a number: index + repeat x N, of the repeat-th time (from 0) that an epoch of N utterances draws the one of
this index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisper_er.base.errors import UserError, first_few
from whisper_er.config import SamplingConfig
from whisper_er.data import kaldi
from whisper_er.data.labels import check_names
from whisper_er.task import RESERVED

MOST_NAMED = 50  # groups in a line of the log


def balanced(count_G: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """Every group as often as any other."""
    return np.ones(len(count_G))


def temperature(count_G: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """count ** (1 / temperature), as mT5 and XLM-R draw languages (Xue et al., 2021; Conneau et al., 2020, where the
    exponent is alpha)."""
    return count_G ** (1 / config.temperature)


SAMPLINGS: dict[str, Callable[[np.ndarray, SamplingConfig], np.ndarray] | None] = {
    "natural": None,  # every utterance once: there are no groups
    "balanced": balanced,
    "temperature": temperature,
}


@dataclass(frozen=True)
class Sampling:
    """The draws of each group.

    names: of the groups, sorted; group_N: int64, the group of each utterance; count_G: utterances of each group;
    draws_G: its draws in an epoch, which together are N.
    """

    title: str  # "balanced by corpus"
    names: Sequence[str]
    group_N: np.ndarray
    count_G: np.ndarray
    draws_G: np.ndarray

    def epoch(self, seed: int) -> np.ndarray:
        """The draws of an epoch, int64 (N,), sorted; the same for the same seed.

        Of two utterances of a group, an epoch draws one at most once more than the other: all of them as often as its
        draws suffice, and the rest at random, without replacement.
        """
        random, total = np.random.default_rng([seed, 1]), len(self.group_N)  # bucketed has the generator of the seed
        draws = []
        for members, number in zip(self.members(), self.draws_G.tolist()):
            repeats, rest = divmod(number, len(members))
            draws += [members + repeat * total for repeat in range(repeats)]
            draws.append(random.permutation(members)[:rest] + repeats * total)
        return np.sort(np.concatenate(draws))

    def members(self) -> list[np.ndarray]:
        """Indices of the utterances of each group."""
        return np.split(np.argsort(self.group_N, kind="stable"), np.cumsum(self.count_G)[:-1])

    def draws_N(self) -> np.ndarray:
        """How often an epoch draws each utterance, on average."""
        return (self.draws_G / self.count_G)[self.group_N]

    def describe(self) -> str:
        """`sampling: balanced by corpus: emodb 428 -> 784, ravdess 1140 -> 784`."""
        groups = zip(self.names, self.count_G, self.draws_G)
        changes = (f"{name or '(no value)'} {count} -> {draws}" for name, count, draws in groups)
        return f"sampling: {self.title}: {first_few(changes, MOST_NAMED)}"


def read_sampling(config: SamplingConfig, directory: Path, utt_ids: Sequence[str]) -> Sampling | None:
    """The sampling of a training set, whose tables have been checked; None where every utterance is drawn once."""
    if not config.by:
        return None
    tables = sorted(path.name for path in directory.glob("utt2*") if can_group(path.name))
    path = directory / kaldi.label_table(directory, f"utt2{config.by}")
    if path.name not in tables:
        raise UserError(
            f"{path}: no table of groups, and sampling.by={config.by} groups the training set by it; write it, "
            "`utterance value` a line, or take one that is there: "
            f"{' '.join(name.removeprefix('utt2') for name in tables)}"
        )
    table = kaldi.read_table(path)
    check_names(path, table)
    if not any(table.values()):
        raise UserError(f"{path}: no utterance has a value, and sampling.by={config.by} groups them by it")
    return make_sampling(config, [table[utt_id] for utt_id in utt_ids])


def can_group(table: str) -> bool:
    """Whether the values of a table are groups: lengths, places in the folds and votes are not."""
    name = table.removeprefix("utt2")
    is_group = name == "spk" or not (RESERVED.fullmatch(name) or name.endswith("_votes"))
    return is_group and bool(kaldi.TABLE_NAME.fullmatch(table))


def make_sampling(config: SamplingConfig, values: Sequence[str]) -> Sampling:
    """values: of each utterance. Those that have none, "", are drawn once, as they are in no group."""
    groups = {name: group for group, name in enumerate(sorted(set(values)))}
    group_N = np.fromiter((groups[value] for value in values), np.int64, len(values))
    count_G = np.bincount(group_N)
    first = int("" in groups)  # "" is the first
    draws_G, count_H = count_G.copy(), count_G[first:]
    draws_G[first:] = apportion(SAMPLINGS[config.rule](count_H, config), int(count_H.sum()))
    return Sampling(f"{config.rule} by {config.by}", list(groups), group_N, count_G, draws_G)


def apportion(weight_G: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers, int64 (G,), that sum to total and are in proportion to the weights, by largest remainder; 1 where
    that would be less, which the others give."""
    free_G = np.ones(len(weight_G), bool)
    while True:
        quota_G = (total - (~free_G).sum()) * weight_G / weight_G[free_G].sum()
        quota_G = np.where(free_G, quota_G, 1.0).round(9)  # 783.9999999999 is 784
        if (quota_G >= 1).all():
            break
        free_G &= quota_G >= 1
    number_G = np.floor(quota_G).astype(np.int64)
    number_G[np.argsort(number_G - quota_G, kind="stable")[: total - number_G.sum()]] += 1
    return number_G
