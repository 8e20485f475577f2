"""The utterances of a data directory: their audio, lengths, labels and texts, read as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.packed_strings import PackedStrings
from whisper_er.config import MAX_SAMPLES, MAX_SECONDS, SAMPLE_RATE, ContextConfig
from whisper_er.data import kaldi
from whisper_er.data.dialogue import Dialogues, read_dialogues
from whisper_er.data.labels import LANGUAGE, check_languages, checked_labels
from whisper_er.data.votes import checked_votes, soft_tasks, votes_table
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer

LENGTHS = "utt2num_samples"


@dataclass(frozen=True)
class Utterance:
    """One line of a dump directory. num_samples: at 16 kHz; values: task -> label or text, "" where there is none;
    language: of the prefix, "" for that of the token list; votes: task of loss.soft_labels -> `label:count ...`;
    context: of the turns before it, oldest first, the values that the decoder reads."""

    utt_id: str
    audio: str
    num_samples: int
    values: dict[str, str]
    language: str = ""
    votes: dict[str, str] = field(default_factory=dict)
    context: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Utterances(Sequence[Utterance]):
    """The utterances of a dump directory, sorted by id, as columns that worker processes share.

    audio: entries of wav.scp; num_samples_N: int64, at 16 kHz; values: task -> label or text of each, "" where there is
    none; languages: of the prefixes, None for that of the token list; votes: as in Utterance; dialogues: which turns an
    utterance is read with, None for none.
    """

    utt_ids: PackedStrings
    audio: PackedStrings
    num_samples_N: np.ndarray
    values: dict[str, Sequence[str]]
    languages: PackedStrings | None = None
    votes: dict[str, PackedStrings] = field(default_factory=dict)
    dialogues: Dialogues | None = None

    def __len__(self) -> int:
        return len(self.utt_ids)

    def __getitem__(self, index: int) -> Utterance:
        values = {task: column[index] for task, column in self.values.items()}
        language = self.languages[index] if self.languages else ""
        votes = {task: column[index] for task, column in self.votes.items()}
        num_samples = int(self.num_samples_N[index])
        context = self.dialogues.context(index, self.values) if self.dialogues else ()
        return Utterance(self.utt_ids[index], self.audio[index], num_samples, values, language, votes, context)


def read_utterances(
    directory: Path,
    tokenizer: Tokenizer,
    long_audio: str,
    labelled: bool = True,
    soft_labels: Sequence[str] = (),
    needs_votes: bool = True,
    context: ContextConfig | None = None,
) -> Utterances:
    """All utterances of a dump directory; labels are checked against the token list, those it lacks of an open task are
    left out and counted.

    long_audio: "error" or "truncate" for audio over 30 s. labelled=False reads no labels (decoding needs none).
    soft_labels: tasks whose votes are read as well; needs_votes=False: where the table is missing, nobody has voted.
    context: which turns before each are; None: no table of them is.
    """
    tasks = tokenizer.tasks if labelled else ()
    soft = soft_tasks(tasks, soft_labels)
    before = [kaldi.PREVIOUS_TABLE] if context and context.turns else []
    utt_ids, columns = kaldi.read_columns(
        directory,
        ["wav.scp", LENGTHS, LANGUAGE, *before, *(task.table for task in tasks), *map(votes_table, soft)],
        [task.name for task in tasks],
    )
    if LENGTHS not in columns:
        raise UserError(f"{directory / LENGTHS}: no such file; run stage 1, which checks the audio and counts")
    blank = PackedStrings([""] * len(utt_ids))
    values = {task.name: columns.get(task.table, blank) for task in tokenizer.tasks}
    for task in tasks:
        values[task.name] = checked_labels(directory, utt_ids, values[task.name], task)
    votes = {}
    for task in soft:
        path = directory / votes_table(task)
        if path.name not in columns:
            if needs_votes:
                raise UserError(f"{path}: no such file; loss.soft_labels needs it of the training and validation sets")
            print(f"{path}: no such file: of loss.soft_labels, each label is one vote", flush=True)
            votes[task.name] = blank
            continue
        values[task.name], votes[task.name] = checked_votes(path, utt_ids, columns[path.name], values[task.name], task)
    num_samples_N = parse_lengths(directory / LENGTHS, utt_ids, columns[LENGTHS])
    languages = columns.get(LANGUAGE)
    if languages and not check_languages(directory / LANGUAGE, languages, tokenizer):
        languages = None
    dialogues = None
    if before:
        dialogues = read_dialogues(directory, utt_ids, columns.get(kaldi.PREVIOUS_TABLE), tokenizer, context)
    utterances = Utterances(utt_ids, columns["wav.scp"], num_samples_N, values, languages, votes, dialogues)
    check_length(directory, utterances, long_audio)
    return utterances


def parse_lengths(path: Path, utt_ids: PackedStrings, column: PackedStrings) -> np.ndarray:
    """utt2num_samples as int64 (N,); UserError for a value that is no positive integer."""
    num_samples_N = np.zeros(len(column), dtype=np.int64)
    for index, value in enumerate(column):
        try:
            num_samples_N[index] = int(value)
            if num_samples_N[index] < 1:
                raise ValueError
        except (ValueError, OverflowError):
            raise UserError(f"{path}: {utt_ids[index]}: {value!r} is no number of samples; run stage 1") from None
    return num_samples_N


def count_labels(
    utterances: Utterances, tasks: Sequence[Task], draws_N: np.ndarray | None = None
) -> dict[str, list[int]]:
    """Category task -> number of utterances of each of its labels, in their order.

    draws_N: how often an epoch draws each of them, on average (Sampling.draws_N); else each counts once.
    """
    weights = [1.0] * len(utterances) if draws_N is None else draws_N.tolist()
    counts = {task.name: dict.fromkeys(task.labels, 0.0) for task in tasks if task.kind == "category"}
    for name, count in counts.items():
        for label, weight in zip(utterances.values[name], weights):
            if label:
                count[label] += weight
    return {name: [round(number) for number in count.values()] for name, count in counts.items()}


def check_length(directory: Path, utterances: Utterances, long_audio: str) -> None:
    """Whisper's encoder reads 30 s: longer audio is an error, or is named and cut when it is loaded."""
    long = np.flatnonzero(utterances.num_samples_N > MAX_SAMPLES)
    if not len(long):
        return
    seconds_N = utterances.num_samples_N / SAMPLE_RATE
    names = first_few(f"{utterances.utt_ids[index]} ({seconds_N[index]:.1f} s)" for index in long)
    if long_audio == "error":
        raise UserError(
            f"{directory}: {len(long)} utterances are longer than the {MAX_SECONDS} s that Whisper reads: {names}; "
            "set model.long_audio=truncate or split them"
        )
    print(f"{directory}: {len(long)} utterances cut to {MAX_SECONDS} s: {names}", flush=True)
