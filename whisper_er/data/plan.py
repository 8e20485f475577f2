"""Plans: which utterances are in which batch, as indices, the same for the same seed."""

import numpy as np

from whisper_er.config import SAMPLE_RATE

POOL = 50  # batches of similar length are cut from a shuffled pool of this many
# Repeats of an utterance are sorted as if they were up to this share longer or shorter; by their length they would meet
# in one batch. With 20 of 1250 utterances drawn 313 times, a batch of 16 has 14.2 different ones instead of 12.8, the
# worst 7 instead of 4, and 6 % of the samples are padding instead of 3.
SPREAD = 0.1


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
