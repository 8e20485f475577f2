"""Whether two systems differ on the same utterances."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class McNemar:
    """Utterances that only one of two systems has right, and the two-sided exact p-value of that split."""

    only_first: int
    only_second: int
    p_value: float


def exact_mcnemar(first_correct: Sequence[bool], second_correct: Sequence[bool]) -> McNemar:
    """Exact McNemar test of two systems on the same utterances in the same order: binomial(n, 1/2), two-sided."""
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    assert first.shape == second.shape
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**n))
