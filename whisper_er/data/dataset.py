"""Dump directory -> utterances -> length-bucketed batches."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from whisper_er.audio.reading import load_samples, to_float
from whisper_er.base.errors import UserError, first_few
from whisper_er.batch import IGNORE, Batch
from whisper_er.config import MAX_SAMPLES, MAX_SECONDS, SAMPLE_RATE, ContextConfig
from whisper_er.data import kaldi
from whisper_er.data.augment import Change
from whisper_er.data.dialogue import Dialogues, read_dialogues
from whisper_er.data.labels import LANGUAGE, check_languages, checked_labels
from whisper_er.data.packed_strings import PackedStrings
from whisper_er.data.shared_memory import BatchSlots, Parked, SampleCache
from whisper_er.data.votes import checked_votes, most_voted, parse_votes, shares, soft_tasks, votes_table
from whisper_er.process import ahead
from whisper_er.process.stop import never
from whisper_er.task import Task
from whisper_er.text.tokenizer import UNLEARNED, Tokenizer

LENGTHS = "utt2num_samples"
READ_AHEAD = 2  # batches of each worker
ADVICE = "set num_workers=0, lower batch_size (in training also cache_gb), or look at this audio"
POOL = 50  # batches of similar length are cut from a shuffled pool of this many
# Repeats of an utterance are sorted as if they were up to this share longer or shorter; by their length they would meet
# in one batch. With 20 of 1250 utterances drawn 313 times, a batch of 16 has 14.2 different ones instead of 12.8, the
# worst 7 instead of 4, and 6 % of the samples are padding instead of 3.
SPREAD = 0.1


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


# index, number of its repeat in the epoch, the utterance, its samples -> both, with another utterance in them or not
Overlay = Callable[[int, int, Utterance, np.ndarray], tuple[Utterance, np.ndarray]]


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


def collate(
    utterances: Sequence[Utterance],
    tokenizer: Tokenizer,
    max_target: int,
    change: Change | None = None,
    waves: Sequence[np.ndarray] | None = None,
    repeats: Sequence[int] | None = None,
) -> Batch:
    """Load the audio and build the targets of a batch. max_target: positions of the decoder; change: augmentation.

    waves: of the utterances, as load_samples gives them, where they have been loaded; repeats: number of each one's
    repeat in the epoch, from 0, for the augmentation.
    """
    waves = waves or [load_samples(utt.audio, utt.utt_id) for utt in utterances]
    waves = [wave[:MAX_SAMPLES] for wave in waves]
    for utt, wave in zip(utterances, waves):
        if len(wave) != min(utt.num_samples, MAX_SAMPLES):
            raise UserError(
                f"{utt.utt_id}: {utt.audio} has {len(wave)} samples, utt2num_samples has {utt.num_samples}: the file "
                "has changed since stage 1; run that again, which notices and formats the set anew"
            )
    if change:
        repeats = repeats or [0] * len(waves)
        waves = [
            change(utt.utt_id, to_float(wave), repeat)[:MAX_SAMPLES]
            for utt, wave, repeat in zip(utterances, waves, repeats)
        ]
    return assemble(utterances, waves, tokenizer, max_target)


def unlabelled(waves: Sequence[np.ndarray], tokenizer: Tokenizer, max_target: int) -> Batch:
    """A batch without labels. waves: float32 (samples,) each, 16 kHz mono; the ids are their positions."""
    waves, blank = [wave[:MAX_SAMPLES] for wave in waves], {task.name: "" for task in tokenizer.tasks}
    utterances = [Utterance(str(index), "", len(wave), blank) for index, wave in enumerate(waves)]
    return assemble(utterances, waves, tokenizer, max_target)


def assemble(
    utterances: Sequence[Utterance], waves: Sequence[np.ndarray], tokenizer: Tokenizer, max_target: int
) -> Batch:
    """The batch of utterances and their waves, int16 or float32 (samples,) each."""
    if any(wave.dtype != np.int16 for wave in waves):
        waves = [to_float(wave) for wave in waves]
    soft_BKC = soft_targets(utterances, tokenizer.tasks)
    utterances = [with_most_voted(utt, tokenizer.tasks) for utt in utterances]
    sequences = [target_of(utt, tokenizer, max_target) for utt in utterances]
    start = tokenizer.prefix[0]
    lengths = [inputs.index(start) for inputs, _, _ in sequences] if any(utt.context for utt in utterances) else []
    label_BK = [
        [
            IGNORE if task.kind == "text" or not utt.values[task.name] else task.index(utt.values[task.name])
            for task in tokenizer.tasks
        ]
        for utt in utterances
    ]
    return Batch(
        utt_ids=[utt.utt_id for utt in utterances],
        wave_BS=stack(waves, 0, waves[0].dtype),
        samples_B=torch.tensor([len(wave) for wave in waves]),
        input_BL=stack([inputs for inputs, _, _ in sequences], tokenizer.end, np.int64),
        target_BL=stack([target for _, target, _ in sequences], IGNORE, np.int64),
        task_BL=stack([owner for _, _, owner in sequences], 0, np.int64),
        label_BK=torch.tensor(label_BK),
        soft_BKC=soft_BKC,
        context_B=torch.tensor(lengths) if any(lengths) else None,
    )


def soft_targets(utterances: Sequence[Utterance], tasks: Sequence[Task]) -> torch.Tensor | None:
    """Batch.soft_BKC."""
    soft = {k: task for k, task in enumerate(tasks) if task.name in utterances[0].votes}
    if not soft:
        return None
    soft_BKC = torch.zeros(len(utterances), len(tasks), max(len(task.labels) for task in soft.values()))
    for b, utt in enumerate(utterances):
        for k, task in soft.items():
            own = shares(parse_votes(utt.votes[task.name]), utt.values[task.name], task)
            soft_BKC[b, k, : len(own)] = torch.tensor(own)
    return soft_BKC


def with_most_voted(utt: Utterance, tasks: Sequence[Task]) -> Utterance:
    """What the decoder reads of a task with votes and without a label: the one with the most votes."""
    tasks = [task for task in tasks if utt.votes.get(task.name) and not utt.values[task.name]]
    if not tasks:
        return utt
    chosen = {task.name: most_voted(parse_votes(utt.votes[task.name]), task) for task in tasks}
    return replace(utt, values=utt.values | chosen)


def target_of(utt: Utterance, tokenizer: Tokenizer, max_target: int) -> tuple[list[int], list[int], list[int]]:
    """Decoder input, target and task of each position; of context and prefix only the last position has a target.

    Whisper reads no more than half of the positions before its prefix; a long target leaves fewer.
    """
    try:
        ids, owners = tokenizer.encode(utt.values, draw=zlib.crc32(utt.utt_id.encode()))
    except UserError as error:
        raise UserError(f"{utt.utt_id}: {error}") from None
    prefix = tokenizer.prefix_in(utt.language)
    if utt.context:
        room = max_target - len(prefix) - max(len(ids) - 1, 0)
        prefix = [*tokenizer.encode_context(utt.context, min(max_target // 2, room) - 1), *prefix]
    prefix_length = len(prefix) - 1  # without the last token, at which the target starts
    inputs = [*prefix, *ids][: prefix_length + max(len(ids), 1)]
    if len(inputs) > max_target:
        raise UserError(
            f"{utt.utt_id}: its target has {len(inputs)} tokens, the decoder {max_target} positions; shorten the text"
        )
    learned = [IGNORE if owner == UNLEARNED else index for index, owner in zip(ids, owners)]
    target = [*[IGNORE] * prefix_length, *(learned or [IGNORE])]
    return inputs, target, [*[0] * prefix_length, *([max(owner, 0) for owner in owners] or [0])]


def stack(rows: Sequence, padding: float, dtype: np.typing.DTypeLike) -> torch.Tensor:
    """Rows of different lengths as one tensor, filled up at the end."""
    result = np.full((len(rows), max(map(len, rows))), padding, dtype)
    for place, row in zip(result, rows):
        place[: len(row)] = row
    return torch.from_numpy(result)


def bucketed(
    num_samples_N: np.ndarray, batch_size: int, seed: int, draw_N: np.ndarray | None = None
) -> list[list[int]]:
    """One epoch in batches of similar length, in random order; the same for the same seed.

    draw_N: the draws of the epoch (Sampling.epoch); else every index once.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(num_samples_N) if draw_N is None else draw_N)
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        length = num_samples_N[pool % len(num_samples_N)].astype(float)
        again = pool >= len(num_samples_N)
        length[again] *= random.uniform(1 - SPREAD, 1 + SPREAD, again.sum())
        batches += cut(pool[np.argsort(length, kind="stable")], batch_size)
    return [batches[index] for index in random.permutation(len(batches))]


def shuffled(
    num_samples_N: np.ndarray, batch_size: int, seed: int, draw_N: np.ndarray | None = None
) -> list[list[int]]:
    """One epoch as `bucketed` has it, in batches that are drawn without looking at the length."""
    random = np.random.default_rng(seed)
    return cut(random.permutation(len(num_samples_N) if draw_N is None else draw_N), batch_size)


def by_length(num_samples_N: np.ndarray, batch_size: int) -> list[list[int]]:
    """Every index once, longest first: for validation and decoding, where order does not matter."""
    return cut(np.argsort(-num_samples_N, kind="stable"), batch_size)


def by_seconds(num_samples_N: np.ndarray, seconds: float) -> list[list[int]]:
    """Every index once, longest first, in batches that last so long together, filled up to the longest; at least one
    utterance each."""
    order, batches = np.argsort(-num_samples_N, kind="stable"), []
    while len(order):
        number = max(1, int(seconds * SAMPLE_RATE // num_samples_N[order[0]]))
        batches.append(order[:number].tolist())
        order = order[number:]
    return batches


def cut(order: np.ndarray, batch_size: int) -> list[list[int]]:
    return [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]


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
