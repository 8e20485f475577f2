"""Texts that repeat themselves: how one is recognised, and how a search may keep from writing it.

Axes: L tokens, V vocabulary; the leading axes of a tensor are those of the hypotheses.
"""

from collections.abc import Sequence

import torch

REPEATS = "the text repeats itself"
TIMES = 3  # in a row
LEAST = 20  # tokens in all: people do say "no, no, no, no" and "thank you thank you"


def repeats_itself(ids: Sequence[int]) -> bool:
    """Whether the same tokens, one or several, stand TIMES times in a row or more, and are LEAST tokens in all.

    Whisper's rule, a compression ratio above 2.4, is met by two plain sentences in Georgian (2.5) or Tamil (2.8).
    """
    for period in range(1, len(ids) // TIMES + 1):
        run = period  # tokens until here that repeat what stands a period before them, and the first period
        for earlier, later in zip(ids, ids[period:]):
            run = run + 1 if earlier == later else period
            if run >= max(TIMES * period, LEAST):
                return True
    return False


def repeated(ids: torch.Tensor, size: int, num_text: int, vocabulary: int) -> torch.Tensor:
    """bool (..., V): tokens that would complete an n-gram of `size` text tokens that is there already.

    ids: int64 (..., L). Only n-grams that are text as a whole count: a label may come wherever the grammar allows it.
    """
    blocked = torch.zeros(*ids.shape[:-1], vocabulary + 1, dtype=torch.bool, device=ids.device)
    if ids.shape[-1] < size:
        return blocked[..., :-1]
    ngrams = ids.unfold(-1, size, 1)
    last = ids[..., None, ids.shape[-1] - size + 1 :]
    again = (ngrams[..., :-1] == last).all(-1) & (ngrams < num_text).all(-1)
    # What does not count is marked in a column of its own, so that no two values meet in one place.
    return blocked.scatter(-1, ngrams[..., -1].where(again, vocabulary), True)[..., :-1]
