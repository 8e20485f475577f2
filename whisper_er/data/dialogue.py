"""Dialogues: which utterance of a data directory was said before which, by the table utt2prev.

`utt2prev` has the utterance that comes before each in its dialogue, an id alone on its line for the first. One that is
in another set, or was left out by a selection of the corpus, cuts the dialogue: what follows it has no turns before.
Axis: N utterances of a directory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.packed_strings import PackedStrings
from whisper_er.config import ContextConfig
from whisper_er.data.kaldi import PREVIOUS_TABLE
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import PREVIOUS


@dataclass(frozen=True)
class Dialogues:
    """previous_N: int64, index of the turn before each utterance, -1 where a dialogue starts; turn_N: int64, its number
    in the dialogue, from 0; turns: most that are read before one; tasks: those whose values are read of them."""

    previous_N: np.ndarray
    turn_N: np.ndarray
    turns: int
    tasks: tuple[str, ...]

    def before(self, index: int) -> list[int]:
        """Indices of the turns that are read before an utterance, oldest first."""
        indices: list[int] = []
        while len(indices) < self.turns and (index := int(self.previous_N[index])) >= 0:
            indices.insert(0, index)
        return indices

    def context(self, index: int, values: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], ...]:
        """Utterance.context. values: task -> text or label of each of the N."""
        return tuple({task: values[task][turn] for task in self.tasks} for turn in self.before(index))

    def rounds(self) -> list[np.ndarray]:
        """Indices of the first turns of all dialogues, of the second ones, ...: each after what it is read with."""
        return [np.flatnonzero(self.turn_N == turn) for turn in range(self.turn_N.max() + 1)]


def read_dialogues(
    directory: Path, utt_ids: PackedStrings, column: PackedStrings | None, tokenizer: Tokenizer, config: ContextConfig
) -> Dialogues:
    """The dialogues of a data directory, and a line that counts them. column: of its utt2prev.

    UserError: no such table, turns that lead back to themselves, a vocabulary or tasks that cannot say them.
    """
    path = directory / PREVIOUS_TABLE
    if column is None:
        raise UserError(f"{path}: no such file; context.turns={config.turns} needs it of every set")
    if tokenizer.text.find(PREVIOUS) is None:
        raise UserError(f"context.turns: the vocabulary has no {PREVIOUS}; start from a pretrained Whisper, or set 0")
    tasks = tuple(task.name for task in tokenizer.tasks if config.labels or task.kind == "text")
    if not tasks:
        raise UserError("context.turns: no task is a text, which turns could be read by; set context.labels=true")
    index_of = {utt_id: index for index, utt_id in enumerate(utt_ids)}
    previous_N = np.array([index_of.get(utt_id, -1) for utt_id in column])
    turn_N = number_turns(path, utt_ids, previous_N)
    cut = [utt_ids[index] for index, utt_id in enumerate(column) if utt_id and utt_id not in index_of]
    named = f"; {len(cut)} more start one, as the turn before is not in this set: {first_few(cut)}" if cut else ""
    print(f"{path}: {(turn_N == 0).sum() - len(cut)} dialogues of {len(utt_ids)} utterances{named}", flush=True)
    return Dialogues(previous_N, turn_N, config.turns, tasks)


def number_turns(path: Path, utt_ids: Sequence[str], previous_N: np.ndarray) -> np.ndarray:
    """Dialogues.turn_N; UserError where turns lead back to themselves."""
    turn_N = np.where(previous_N < 0, 0, -1)
    while len(waiting := np.flatnonzero(turn_N < 0)):
        ready = waiting[turn_N[previous_N[waiting]] >= 0]
        if not len(ready):
            names = first_few(utt_ids[index] for index in waiting)
            raise UserError(f"{path}: these have no first turn, they follow each other in a circle: {names}; mend it")
        turn_N[ready] = turn_N[previous_N[ready]] + 1
    return turn_N
