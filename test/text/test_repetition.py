"""Which texts repeat themselves, and which tokens would repeat an n-gram, beside transformers."""

import pytest
import torch
from transformers import NoRepeatNGramLogitsProcessor

from whisper_er.text.repetition import repeated, repeats_itself

PLAIN = list(range(100, 118))


@pytest.mark.parametrize("ids, expected", [
    ([], False),
    (PLAIN * 2, False),  # said twice
    (PLAIN * 3, True),
    ([*PLAIN, *[7] * 19], False),
    ([*PLAIN, *[7] * 20, *PLAIN], True),
    ([1, 2] * 9, False),  # 18 tokens
    ([1, 2] * 10, True),
    ([*PLAIN, *[1, 2, 3, 4, 5, 6, 7, 8, 9] * 2, 1, 2, 3], False),
    ([*PLAIN, *[1, 2, 3, 4, 5, 6, 7, 8, 9] * 3, 1, 2, 3], True),
    ([1, 2, 3, 4, 5, 6, 7] * 3, True),
    ([1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 8] * 2, False),
])  # fmt: skip
def test_a_text_repeats_itself_where_the_same_tokens_follow_one_another(ids, expected):
    assert repeats_itself(ids) is expected


@pytest.mark.parametrize("length", [0, 1, 2, 3, 12, 40])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_what_would_repeat_an_n_gram_is_what_transformers_bans(size, length):
    ids_NL = torch.randint(4, (8, length), generator=torch.Generator().manual_seed(length))
    banned_NV = NoRepeatNGramLogitsProcessor(size)(ids_NL, torch.zeros(8, 6)) == -torch.inf
    assert repeated(ids_NL, size, 6, 6).equal(banned_NV)
    assert repeated(ids_NL.view(2, 4, -1), size, 6, 6).equal(banned_NV.view(2, 4, 6))
    assert banned_NV.any() or length < 40


def test_an_n_gram_with_a_label_in_it_counts_for_nothing():
    ids_NL = torch.tensor([[0, 5, 1, 0, 5, 1, 0]])  # 5 is a label: 0 5 and 5 1 are no n-grams of text, 1 0 is one
    assert repeated(ids_NL, 2, 4, 6).nonzero().tolist() == []
    assert repeated(ids_NL[:, :-1], 2, 4, 6).nonzero().tolist() == [[0, 0]]
    assert repeated(ids_NL, 1, 4, 6).nonzero().tolist() == [[0, 0], [0, 1]]
