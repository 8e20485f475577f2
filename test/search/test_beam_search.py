"""The beam search against brute force over every well-formed sequence of a tiny vocabulary."""

import itertools
import math

import pytest
import torch
from random_language import RandomLanguage
from tiny_whisper import ORDERS, THREE_WORDS, tasks_of

from whisper_er.config import DecodeConfig
from whisper_er.search.beam import beam_search
from whisper_er.text.grammar import StrictGrammar
from whisper_er.text.tokenizer import Tokenizer

WORDS, END = (0, 1, 2), 3
MAX_TOKENS = [6, 5, 4]  # one per utterance
EVERYTHING = 256  # a beam that holds every sequence: at most 6 x (1 + 3 + 9 + 27)
SEEDS = range(3)


def tokenizer_of(order: str) -> Tokenizer:
    return Tokenizer(THREE_WORDS, tasks_of(order), "bpe", "en")


def well_formed(tokenizer: Tokenizer, max_tokens: int) -> list[tuple[int, ...]]:
    """Every sequence: one label per category in order, any text, <|endoftext|>; no more than max_tokens."""
    texts = [text for length in range(max_tokens) for text in itertools.product(WORDS, repeat=length)]
    parts = [[(index,) for index in ids] or texts for ids in tokenizer.task_ids]
    sequences = (sum(choice, ()) + (END,) for choice in itertools.product(*parts))
    return [sequence for sequence in sequences if len(sequence) <= max_tokens]


def search(
    language: RandomLanguage,
    tokenizer: Tokenizer,
    beam_size: int,
    length_penalty: float,
    max_tokens=MAX_TOKENS,
    no_repeat_ngram_size=0,
):
    grammar, limits_U = StrictGrammar(tokenizer), torch.tensor(max_tokens)
    config = DecodeConfig(beam_size, length_penalty, no_repeat_ngram_size=no_repeat_ngram_size)
    best = beam_search(language.first(), language.step, grammar, limits_U, config)
    return best.read(grammar.end)


def posterior_at(language, utt: int, prefix: tuple[int, ...], ids: list[int]) -> torch.Tensor:
    """Softmax over a category's own tokens after a prefix, as probabilities."""
    return language.logp(utt, prefix)[ids].softmax(-1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("order", [*ORDERS, "emotion", "asr", "asr emotion"])
def test_a_beam_that_holds_everything_finds_the_best_of_all_sequences(order, length_penalty, seed):
    tokenizer = tokenizer_of(order)
    language = RandomLanguage(len(MAX_TOKENS), tokenizer.size, seed)
    for utt, found in enumerate(search(language, tokenizer, EVERYTHING, length_penalty)):
        scores = {
            ids: language.logp_of(utt, ids) / len(ids) ** length_penalty
            for ids in well_formed(tokenizer, MAX_TOKENS[utt])
        }
        best = max(scores, key=scores.get)
        assert tuple(found.ids) == best
        assert found.score == pytest.approx(scores[best], abs=1e-5)
        for k, ids in enumerate(tokenizer.task_ids):
            if ids:
                place = next(i for i, token in enumerate(best) if token in ids)
                expected = posterior_at(language, utt, best[:place], ids)
                assert found.best[k].exp().tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("order", ["gender asr emotion", "asr"])
def test_without_repeated_n_grams_it_finds_the_best_of_the_sequences_that_have_none(order, size):
    tokenizer = tokenizer_of(order)
    chatty = torch.where(torch.arange(tokenizer.size) == 0, 6.0, 0.0)  # it would say the first word again and again
    language, changed = RandomLanguage(len(MAX_TOKENS), tokenizer.size, 0, chatty), 0
    free = search(RandomLanguage(len(MAX_TOKENS), tokenizer.size, 0, chatty), tokenizer, EVERYTHING, 1.0)
    for utt, found in enumerate(search(language, tokenizer, EVERYTHING, 1.0, no_repeat_ngram_size=size)):
        scores = {}
        for ids in well_formed(tokenizer, MAX_TOKENS[utt]):
            words = [token for token in ids if token in WORDS]
            ngrams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
            if len(set(ngrams)) == len(ngrams):
                scores[ids] = language.logp_of(utt, ids) / len(ids)
        best = max(scores, key=scores.get)
        assert tuple(found.ids) == best and found.score == pytest.approx(scores[best], abs=1e-5)
        changed += found.ids != free[utt].ids
    assert changed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", ORDERS)
def test_over_everything_the_marginal_posterior_is_exact(order, seed):
    """Sum over what can stand before: p(before) p(label | before), normalised over the labels.

    p(label | before) is the softmax over the category's own tokens; after text it is the model's own probability, in
    which lies how likely the text ends there.
    """
    tokenizer = tokenizer_of(order)
    language = RandomLanguage(len(MAX_TOKENS), tokenizer.size, seed)
    for utt, found in enumerate(search(language, tokenizer, EVERYTHING, 1.0)):
        sequences = well_formed(tokenizer, MAX_TOKENS[utt])
        for k, ids in enumerate(tokenizer.task_ids):
            if not ids:
                continue
            after_text = k > 0 and tokenizer.tasks[k - 1].kind == "text"
            total = torch.zeros(len(ids), dtype=torch.double)
            for before in {ids_[: next(i for i, token in enumerate(ids_) if token in ids)] for ids_ in sequences}:
                label = (
                    language.logp(utt, before)[ids].exp() if after_text else posterior_at(language, utt, before, ids)
                )
                total += math.exp(language.logp_of(utt, before)) * label
            assert found.marginal[k].exp().tolist() == pytest.approx((total / total.sum()).tolist(), abs=1e-5)


def test_the_marginal_of_a_second_category_sums_over_the_first_by_the_chain_rule():
    tokenizer = tokenizer_of("gender emotion")
    language = RandomLanguage(1, tokenizer.size, seed=0)
    [found] = search(language, tokenizer, 6, 1.0, [3])
    genders, emotions = tokenizer.task_ids
    gender = posterior_at(language, 0, (), genders)
    emotion = sum(p * posterior_at(language, 0, (index,), emotions) for p, index in zip(gender, genders))
    assert found.marginal[0].exp().tolist() == pytest.approx(gender.tolist(), abs=1e-5)
    assert found.marginal[1].exp().tolist() == pytest.approx(emotion.tolist(), abs=1e-5)
    assert found.best[1].exp().tolist() != pytest.approx(emotion.tolist(), abs=1e-2)


@pytest.mark.parametrize("order", ORDERS)
def test_a_beam_of_one_takes_the_most_probable_allowed_token_each_time(order):
    tokenizer = tokenizer_of(order)
    grammar = StrictGrammar(tokenizer)
    language = RandomLanguage(3, tokenizer.size, seed=5)
    for utt, found in enumerate(search(language, tokenizer, 1, 1.0)):
        said, state = (), 0
        while state != grammar.finished:
            allowed_V = grammar.mask(torch.tensor([state]), torch.tensor([MAX_TOKENS[utt] - len(said)]))[0]
            token = int(language.logp(utt, said).masked_fill(~allowed_V, -torch.inf).argmax())
            said, state = (*said, token), int(grammar.next_QV[state, token])
        assert tuple(found.ids) == said
        assert found.score == pytest.approx(language.logp_of(utt, said) / len(said), abs=1e-5)


@pytest.mark.parametrize("beam_size", [1, 2, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_utterances_are_searched_the_same_together_and_one_by_one(order, beam_size):
    tokenizer = tokenizer_of(order)
    limits = [9, 3, 7, 12]
    together = search(RandomLanguage(4, tokenizer.size, seed=1), tokenizer, beam_size, 1.0, limits)
    for utt, expected in enumerate(together):
        language = RandomLanguage(1, tokenizer.size, seed=1)
        language.rows = [(utt, ())]
        [alone] = search(language, tokenizer, beam_size, 1.0, limits[utt : utt + 1])
        assert (alone.ids, alone.score) == (expected.ids, pytest.approx(expected.score, abs=1e-5))
        for k in expected.marginal:
            assert alone.marginal[k].tolist() == pytest.approx(expected.marginal[k].tolist(), abs=1e-5)


@pytest.mark.parametrize("limits", [[3, 3], [5, 8]])
@pytest.mark.parametrize("order", ORDERS)
def test_a_model_that_would_talk_for_ever_still_closes_within_its_tokens(order, limits):
    tokenizer = tokenizer_of(order)
    talkative = torch.full((tokenizer.size,), -60.0)
    talkative[list(WORDS)] = 0.0
    found = search(RandomLanguage(2, tokenizer.size, seed=0, bias=talkative), tokenizer, 4, 1.0, limits)
    for item, limit in zip(found, limits):
        assert len(item.ids) == limit and item.cut
        assert tuple(item.ids) in well_formed(tokenizer, limit)
        assert math.isfinite(item.score)


def test_the_search_stops_once_nothing_that_runs_can_win():
    tokenizer = tokenizer_of("asr")
    brief = torch.zeros(tokenizer.size)
    brief[END] = 8.0
    language = RandomLanguage(1, tokenizer.size, seed=0, bias=brief)
    [found] = search(language, tokenizer, 2, 1.0, [200])
    assert found.ids == [END] and not found.cut
    assert language.steps < 10
