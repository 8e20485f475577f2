"""The tokenizer of an exported model against the one that the model was trained with."""

import random

import pytest
from tiny_export import tokenizer_of
from tiny_whisper import ORDERS, SENTENCES
from transformers import AutoTokenizer

from whisper_er.base.errors import UserError
from whisper_er.export.hf_tokenizer import to_hf_tokenizer
from whisper_er.text.vocabulary import NoText

ODD = ["", " ", "two  spaces ", "\ttab\u00a0and\u3000wide", "ﬁne ①", "unknown Ω Ωλ λ", "a▁b", "naïve cafe\u0301", "⁇"]


@pytest.fixture(scope="module")
def loaded(base_tokens, tmp_path_factory):
    """Our tokenizer, and transformers' after saving and loading."""
    tokenizer, directory = tokenizer_of(base_tokens), tmp_path_factory.mktemp("tokenizer")
    to_hf_tokenizer(tokenizer).save_pretrained(directory)
    (directory / "config.json").write_text('{"model_type": "whisper"}')
    return tokenizer, AutoTokenizer.from_pretrained(directory)


def fuzz(alphabet: str, number: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choice(alphabet) for _ in range(draw.randrange(40))) for _ in range(number)]


def test_the_tokens_of_the_labels_and_the_special_ones_have_the_ids_of_the_model(loaded):
    tokenizer, hf = loaded
    assert len(hf) == tokenizer.size
    for task, ids in zip(tokenizer.tasks, tokenizer.task_ids):
        assert hf.convert_tokens_to_ids(list(task.tokens)) == ids
    assert hf.convert_tokens_to_ids(["<|startoftranscript|>", "<|endoftext|>"]) == [tokenizer.prefix[0], tokenizer.end]


def test_text_has_the_same_ids_as_in_sentencepiece(bpe_tokens):
    hf = to_hf_tokenizer(tokenizer_of(("bpe", bpe_tokens)))
    texts = [*SENTENCES[:4], *ODD, *fuzz("aeglnorty   dΩ.", 3000), *fuzz("good day", 3000)]
    for text in texts:
        assert hf.encode(text, add_special_tokens=False) == bpe_tokens.encode(text), repr(text)


def test_any_ids_of_text_decode_to_the_same_text(loaded):
    tokenizer, hf = loaded
    draw = random.Random(0)
    for _ in range(2000):
        ids = [draw.randrange(tokenizer.text.num_text) for _ in range(draw.randrange(12))]
        assert " ".join(hf.decode(ids, skip_special_tokens=True).split()) == tokenizer.decode_text(ids)


@pytest.mark.parametrize("order", ORDERS)
def test_skipping_special_tokens_leaves_the_transcript_of_a_target(base_tokens, order):
    tokenizer = tokenizer_of(base_tokens, order)
    hf = to_hf_tokenizer(tokenizer)
    ids, _ = tokenizer.encode({"asr": "a really good day", "gender": "male", "emotion": "sad"})
    whole = [*tokenizer.prefix, *ids]
    assert hf.decode(whole, skip_special_tokens=True).strip() == "a really good day"
    assert hf.convert_ids_to_tokens([index for index in whole if index >= tokenizer.text.size]) == [
        f"<|{label}|>" for label in ("male", "sad")
    ]


def test_the_tokenizer_that_it_is_made_from_stays_as_it_is(whisper_tokens):
    before = len(whisper_tokens.tokenizer)
    to_hf_tokenizer(tokenizer_of(("whisper", whisper_tokens)))
    assert len(whisper_tokens.tokenizer) == before and "<|happy|>" not in whisper_tokens.tokenizer.get_vocab()


def test_a_vocabulary_of_labels_alone_is_refused():
    with pytest.raises(UserError, match="token_type=none: transformers has no tokenizer for labels alone; leave stage"):
        to_hf_tokenizer(tokenizer_of(("none", NoText()), "gender emotion"))
