"""Dump directory -> utterances -> length-bucketed batches."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from whisper_er import kaldi
from whisper_er.audio import SAMPLE_RATE, load_audio
from whisper_er.batch import IGNORE, Batch
from whisper_er.errors import UserError, first_few
from whisper_er.logmel import MAX_SAMPLES, MAX_SECONDS
from whisper_er.task import Task
from whisper_er.tokenizer import UNLEARNED, Tokenizer

POOL = 50  # batches of similar length are cut from a shuffled pool of this many


@dataclass(frozen=True)
class Utterance:
    """One line of a dump directory. num_samples: at 16 kHz; values: task -> label or text, "" where there is none."""

    utt_id: str
    audio: str
    num_samples: int
    values: dict[str, str]


def read_utterances(directory: Path, tokenizer: Tokenizer, long_audio: str, labelled: bool = True) -> list[Utterance]:
    """All utterances of a dump directory, sorted by id; labels are checked against the token list.

    long_audio: "error" or "truncate" for audio over 30 s. labelled=False reads no labels (decoding needs none).
    """
    data = kaldi.read_dir(directory)
    kaldi.validate(directory, data, [task.name for task in tokenizer.tasks] if labelled else [])
    if "utt2num_samples" not in data:
        raise UserError(f"{directory}/utt2num_samples: no such file; run stage 1, which checks the audio and counts")
    if labelled:
        check_labels(directory, data, tokenizer.tasks)
    utterances = []
    for utt_id in kaldi.utterances(data):
        values = {task.name: data[task.table][utt_id] if labelled else "" for task in tokenizer.tasks}
        try:
            num_samples = int(data["utt2num_samples"][utt_id])
        except ValueError as error:
            raise UserError(f"{directory}/utt2num_samples: {utt_id}: {error}; run stage 1") from None
        utterances.append(Utterance(utt_id, data["wav.scp"][utt_id], num_samples, values))
    check_length(directory, utterances, long_audio)
    return utterances


def check_labels(directory: Path, data: kaldi.DataDir, tasks: Sequence[Task]) -> None:
    """UserError for a label that is outside its task's; text and what has no label pass."""
    for task in tasks:
        for utt_id, value in data.get(task.table, {}).items():
            if task.kind != "text" and value:
                try:
                    task.index(value)
                except UserError as error:
                    raise UserError(f"{directory}: {utt_id}: {error}") from None


def check_length(directory: Path, utterances: Sequence[Utterance], long_audio: str) -> None:
    """Whisper's encoder reads 30 s: longer audio is an error, or is named and cut when it is loaded."""
    long = {utt.utt_id: utt.num_samples / SAMPLE_RATE for utt in utterances if utt.num_samples > MAX_SAMPLES}
    if not long:
        return
    names = first_few(f"{utt_id} ({seconds:.1f} s)" for utt_id, seconds in long.items())
    if long_audio == "error":
        raise UserError(
            f"{directory}: {len(long)} utterances are longer than the {MAX_SECONDS} s that Whisper reads: {names}; "
            "set model.long_audio=truncate or split them"
        )
    print(f"{directory}: {len(long)} utterances cut to {MAX_SECONDS} s: {names}", flush=True)


def collate(utterances: Sequence[Utterance], tokenizer: Tokenizer, max_target: int) -> Batch:
    """Load the audio and build the targets of a batch. max_target: positions of the decoder."""
    waves = [load_audio(utt.audio, utt.utt_id)[:MAX_SAMPLES] for utt in utterances]
    for utt, wave in zip(utterances, waves):
        if len(wave) != min(utt.num_samples, MAX_SAMPLES):
            raise UserError(
                f"{utt.utt_id}: {utt.audio} has {len(wave)} samples, utt2num_samples has {utt.num_samples}; run stage 1"
            )
    sequences = [target_of(utt, tokenizer, max_target) for utt in utterances]
    label_BK = [
        [
            IGNORE if task.kind == "text" or utt.values[task.name] == "" else task.index(utt.values[task.name])
            for task in tokenizer.tasks
        ]
        for utt in utterances
    ]
    return Batch(
        utt_ids=[utt.utt_id for utt in utterances],
        wave_BS=stack(waves, 0.0, torch.float32),
        samples_B=torch.tensor([len(wave) for wave in waves]),
        input_BL=stack([inputs for inputs, _, _ in sequences], tokenizer.end, torch.long),
        target_BL=stack([target for _, target, _ in sequences], IGNORE, torch.long),
        task_BL=stack([owner for _, _, owner in sequences], 0, torch.long),
        label_BK=torch.tensor(label_BK),
    )


def target_of(utt: Utterance, tokenizer: Tokenizer, max_target: int) -> tuple[list[int], list[int], list[int]]:
    """Decoder input, target and task per position: the prefix is read but not learned."""
    try:
        ids, owners = tokenizer.encode(utt.values, draw=zlib.crc32(utt.utt_id.encode()))
    except UserError as error:
        raise UserError(f"{utt.utt_id}: {error}") from None
    given = len(tokenizer.prefix) - 1
    inputs = [*tokenizer.prefix, *ids][: given + max(len(ids), 1)]
    if len(inputs) > max_target:
        raise UserError(
            f"{utt.utt_id}: its target has {len(inputs)} tokens, the decoder {max_target} positions; shorten the text"
        )
    learned = [IGNORE if owner == UNLEARNED else index for index, owner in zip(ids, owners)]
    target = [*[IGNORE] * given, *(learned or [IGNORE])]
    return inputs, target, [*[0] * given, *([max(owner, 0) for owner in owners] or [0])]


def stack(rows: Sequence, padding: float, dtype: torch.dtype) -> torch.Tensor:
    """Rows of different lengths as one tensor, filled up at the end."""
    result = torch.full((len(rows), max(len(row) for row in rows)), padding, dtype=dtype)
    for index, row in enumerate(rows):
        result[index, : len(row)] = torch.as_tensor(row, dtype=dtype)
    return result


def bucketed(num_samples: Sequence[int], batch_size: int, seed: int) -> list[list[int]]:
    """One epoch: every index once, in batches of similar length, in random order; the same for the same seed."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(num_samples))
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = sorted(order[start : start + POOL * batch_size].tolist(), key=num_samples.__getitem__)
        batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]


def by_length(num_samples: Sequence[int], batch_size: int) -> list[list[int]]:
    """Every index once, longest first: for validation and decoding, where order does not matter."""
    order = sorted(range(len(num_samples)), key=lambda index: -num_samples[index])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


class Batches(torch.utils.data.Dataset):
    """The i-th list of indices as a Batch; what is wrong with the user's data comes back as a value, see `load`."""

    def __init__(self, utterances: Sequence[Utterance], plan: list[list[int]], tokenizer: Tokenizer, max_target: int):
        self.utterances, self.plan, self.tokenizer, self.max_target = utterances, plan, tokenizer, max_target

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Batch | UserError:
        try:
            return collate([self.utterances[i] for i in self.plan[index]], self.tokenizer, self.max_target)
        except UserError as error:
            return error


def load(
    utterances: Sequence[Utterance], plan: list[list[int]], tokenizer: Tokenizer, max_target: int, num_workers: int
) -> Iterator[Batch]:
    """Batches in the order of the plan, read ahead by `num_workers` processes (0: in this one)."""
    batches = Batches(utterances, plan, tokenizer, max_target)
    # A UserError that crosses from a worker as an exception would arrive wrapped in its traceback.
    for item in DataLoader(batches, batch_size=None, num_workers=num_workers):
        if isinstance(item, UserError):
            raise item
        yield item
