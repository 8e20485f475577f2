"""The grammar's tables: what may be said when."""

import pytest
import torch
from tiny_whisper import THREE_WORDS, tasks_of

from whisper_er.text.grammar import StrictGrammar
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import Suppressed

TEXT, END = [0, 1, 2], [3]  # then <|startoftranscript|> = 4 and the tokens of the tasks
PLENTY = 100


def grammar_of(order: str) -> StrictGrammar:
    return StrictGrammar(Tokenizer(THREE_WORDS, tasks_of(order), "bpe", "en"))


def allowed(grammar: StrictGrammar, said: list[int], tokens_left: int = PLENTY) -> list[int]:
    """Tokens that may follow what was said."""
    state = 0
    for token in said:
        assert grammar.allowed_QV[state, token], (said, token)
        state = int(grammar.next_QV[state, token])
    if state == grammar.finished:
        return []
    return grammar.mask(torch.tensor([state]), torch.tensor([tokens_left]))[0].nonzero().flatten().tolist()


@pytest.mark.parametrize(
    "order,steps",
    [
        ("asr gender emotion", [([], [*TEXT, 5, 6]), ([0, 2], [*TEXT, 5, 6]), ([0, 5], [7, 8, 9]), ([5, 9], END)]),
        ("gender emotion asr", [([], [5, 6]), ([6], [7, 8, 9]), ([6, 7], [*TEXT, *END]), ([6, 7, 1], [*TEXT, *END])]),
        ("gender asr emotion", [([], [5, 6]), ([5], [*TEXT, 7, 8, 9]), ([5, 1], [*TEXT, 7, 8, 9]), ([5, 8], END)]),
        ("emotion", [([], [5, 6, 7]), ([6], END), ([6, 3], [])]),
        ("asr", [([], [*TEXT, *END]), ([1], [*TEXT, *END]), ([1, 3], [])]),
    ],
)
def test_every_task_gets_its_own_tokens_in_order_and_text_ends_where_the_next_task_begins(order, steps):
    grammar = grammar_of(order)
    for said, expected in steps:
        assert allowed(grammar, said) == expected


def test_text_stops_in_time_for_what_must_follow():
    grammar = grammar_of("asr gender emotion")  # gender, emotion and the end still take three tokens
    assert allowed(grammar, [0], tokens_left=4) == [*TEXT, 5, 6]
    assert allowed(grammar, [0], tokens_left=3) == [5, 6]


def test_a_start_token_is_never_said():
    for order in ("asr gender emotion", "gender emotion asr"):
        assert not grammar_of(order).allowed_QV[:, 4].any()


@pytest.mark.parametrize(
    "order,expected", [("asr gender emotion", 3), ("gender emotion asr", 3), ("asr", 1), ("emotion", 2)]
)
def test_the_fewest_tokens_are_one_per_category_and_the_end(order, expected):
    assert int(grammar_of(order).closing_Q[0]) == expected


def test_the_tables_know_which_category_may_come_next():
    assert grammar_of("asr gender emotion").category_Q.tolist() == [1, 1, 2, -1, -1]
    assert grammar_of("gender emotion asr").category_Q.tolist() == [0, 1, -1, -1, -1]


def test_what_has_to_be_said_is_said_though_it_is_suppressed():
    """Whisper's own lists suppress <|endoftext|> as the first token; where there is room for no other, it is said."""
    grammar = StrictGrammar(Tokenizer(THREE_WORDS, tasks_of("asr"), "bpe", "en"), Suppressed((0,), (3,)))
    for tokens_left, expected in ((5, [1, 2]), (1, END)):
        mask_NV = grammar.mask(torch.tensor([0]), torch.tensor([tokens_left]), first=True)
        assert mask_NV[0].nonzero().flatten().tolist() == expected
