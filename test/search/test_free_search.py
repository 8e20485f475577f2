"""The search without a target grammar: any token anywhere, and the answers that are read from what it wrote."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from random_language import RandomLanguage
from tiny_whisper import EMOTION, GENDER, ORDERS, THREE_WORDS, batch_of, tasks_of, tiny_model, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.config import DecodeConfig
from whisper_er.models.seq2seq import to_prediction
from whisper_er.search.beam import Hypothesis, beam_search
from whisper_er.task import scale
from whisper_er.text.grammar import FreeGrammar
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import Suppressed

END = 3
MAX_TOKENS = [4, 3, 2, 1]  # one per utterance
EVERYTHING = 1000  # a beam that holds every sequence: 9 ** 3 of ten tokens, one of which ends it


def tokenizer_of(order: str) -> Tokenizer:
    return Tokenizer(THREE_WORDS, tasks_of(order), "bpe", "en")


def all_sequences(size: int, max_tokens: int) -> list[tuple[int, ...]]:
    others = [token for token in range(size) if token != END]
    texts = (text for length in range(max_tokens) for text in itertools.product(others, repeat=length))
    return [(*text, END) for text in texts]


def search(
    language: RandomLanguage, tokenizer: Tokenizer, config: DecodeConfig, max_tokens=MAX_TOKENS, always=(), first=()
):
    grammar = FreeGrammar(tokenizer, Suppressed(always, first))
    best = beam_search(language.first(), language.step, grammar, torch.tensor(max_tokens), config)
    return best.read(tokenizer.end)


def place(sequence: tuple[int, ...], ids: list[int]) -> int:
    """Where the first label of a task stands; without one, that of <|endoftext|>."""
    return next((i for i, token in enumerate(sequence) if token in ids), len(sequence) - 1)


@pytest.mark.parametrize("order,length_penalty", [(ORDERS[0], 1.0), (ORDERS[1], 0.0), ("emotion", 1.0)])
def test_a_beam_that_holds_everything_finds_the_best_of_all_sequences_and_exact_posteriors(order, length_penalty):
    """The marginal posterior: how probable it is that a label is the first of its task, over all that stands before."""
    tokenizer = tokenizer_of(order)
    language = RandomLanguage(len(MAX_TOKENS), tokenizer.size, seed=2)
    for utt, found in enumerate(search(language, tokenizer, DecodeConfig(EVERYTHING, length_penalty))):
        sequences = all_sequences(tokenizer.size, MAX_TOKENS[utt])
        scores = {ids: language.logp_of(utt, ids) / len(ids) ** length_penalty for ids in sequences}
        best = max(scores, key=scores.get)
        assert tuple(found.ids) == best and found.score == pytest.approx(scores[best], abs=1e-5)
        for k, ids in enumerate(tokenizer.task_ids):
            if not ids:
                continue
            at_best = language.logp(utt, best[: place(best, ids)])[ids].softmax(-1)
            assert found.best[k].exp().tolist() == pytest.approx(at_best.tolist(), abs=1e-5)
            before = {sequence[:-1] for sequence in sequences if not set(sequence) & set(ids)}
            total = sum(math.exp(language.logp_of(utt, said)) * language.logp(utt, said)[ids].exp() for said in before)
            assert found.marginal[k].exp().tolist() == pytest.approx((total / total.sum()).tolist(), abs=1e-5)


def test_a_suppressed_token_is_not_said_but_the_end_is_where_there_is_room_for_nothing_else():
    tokenizer = tokenizer_of("asr gender")
    bias = torch.tensor([5.0, 0, 0, 9, 0, 0, 0])
    language = RandomLanguage(2, tokenizer.size, seed=0, bias=bias)
    found = search(language, tokenizer, DecodeConfig(), [6, 1], always=(0,), first=(END,))
    assert 0 not in found[0].ids and found[0].ids[0] != END and found[1].ids == [END]


@pytest.mark.parametrize(
    "ids,gender,emotion,text",
    [
        ([0, 5, 8, END], "female", "happy", "0"),
        ([9, 1, 6, 7, 5, 2, END], "male", "sad", "1 2"),  # in any order; the first of each counts
        ([0, 4, 7, END], "", "angry", "0"),
        ([END], "", "", ""),
    ],
)
def test_a_category_is_its_first_label_wherever_it_stands_or_nothing(ids, gender, emotion, text):
    words = SimpleNamespace(**vars(THREE_WORDS), decode=lambda ids: " ".join(map(str, ids)))
    tokenizer = Tokenizer(words, tasks_of("asr gender emotion"), "bpe", "en")
    posteriors = {1: torch.tensor([0.5, 0.5]).log(), 2: torch.tensor([0.2, 0.3, 0.5]).log()}
    prediction = to_prediction(tokenizer, "u", Hypothesis(ids, -1.0, posteriors, posteriors), "best")
    assert prediction.values == {"asr": text, "gender": gender, "emotion": emotion}
    assert prediction.posteriors["emotion"] == pytest.approx([0.2, 0.3, 0.5])


def test_a_scale_without_a_token_has_no_value():
    tokenizer = Tokenizer(THREE_WORDS, [scale("valence", 1, 5, 2)], "bpe", "en")
    posteriors = {0: torch.tensor([0.25, 0.75]).log()}
    values = [
        to_prediction(tokenizer, "u", Hypothesis(ids, 0.0, posteriors, posteriors), "best").values["valence"]
        for ids in ([0, END], [5, END])
    ]
    assert values == ["", "4.0000"]


@torch.no_grad()
def test_the_prefix_takes_the_language_that_decoding_asks_for(whisper_tokens, tmp_path, monkeypatch):
    tokenizer = Tokenizer(whisper_tokens, [GENDER, EMOTION], "whisper", "en")
    batch = batch_of(write_utterances(tmp_path, [0.4], [{"gender": "", "emotion": ""}]), tokenizer)
    model = tiny_model(tokenizer)
    inputs = []
    embed = model.decoder.embed_tokens.forward
    monkeypatch.setattr(model.decoder.embed_tokens, "forward", lambda ids: inputs.append(ids.tolist()) or embed(ids))
    prefixes, scores = {}, {}
    for lang in ("", "en", "de"):
        inputs.clear()
        [prediction] = model.predict(batch, DecodeConfig(lang=lang))
        prefixes[lang], scores[lang] = inputs[0][0], prediction.score
    start, english, *task = tokenizer.prefix
    assert prefixes == {
        "": tokenizer.prefix,
        "en": tokenizer.prefix,
        "de": [start, tokenizer.text.find("<|de|>"), *task],
    }
    assert scores[""] == scores["en"] != scores["de"]


@pytest.mark.parametrize("lang", ["xx", "transcribe", "fr"])  # fr: a language, but this vocabulary is without it
def test_a_language_that_the_vocabulary_lacks_is_an_error(whisper_tokens, lang):
    with pytest.raises(UserError, match=f"lang={lang}: .*use a code such as en"):
        Tokenizer(whisper_tokens, [EMOTION], "whisper", "en").prefix_in(lang)


def test_models_whose_prefix_has_no_language_refuse_one(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, [EMOTION], "bpe", "en")
    batch = batch_of(write_utterances(tmp_path, [0.4], [{"emotion": ""}]), tokenizer)
    with pytest.raises(UserError, match="lang=de: the prefix of this vocabulary names no language"):
        tiny_model(tokenizer).predict(batch, DecodeConfig(lang="de"))
    with pytest.raises(UserError, match="lang=de: the conventional method has no decoder prefix"):
        tiny_model(tokenizer, kind="encoder_classifier").predict(batch, DecodeConfig(lang="de"))
