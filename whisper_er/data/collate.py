"""Utterances -> a batch: audio loaded and augmented, targets built."""

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from whisper_er.audio.reading import load_samples, to_float
from whisper_er.base.errors import UserError
from whisper_er.batch import IGNORE, Batch
from whisper_er.config import MAX_SAMPLES
from whisper_er.data.augment import Change
from whisper_er.data.utterances import Utterance
from whisper_er.data.votes import most_voted, parse_votes, shares
from whisper_er.task import Task
from whisper_er.text.tokenizer import UNLEARNED, Tokenizer


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
