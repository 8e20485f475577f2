"""Values <-> ids for both kinds of tokens."""

import io
from dataclasses import replace

import pytest
import sentencepiece
from tiny_whisper import EMOTION, GENDER, ORDERS, SENTENCES, tasks_of, whisper_tokenizer

from whisper_er.base.errors import UserError
from whisper_er.task import Task, scale
from whisper_er.text.tokenizer import UNLEARNED, Tokenizer, load_tokenizer
from whisper_er.text.vocabulary import SentencePieceTokens, train_sentencepiece
from whisper_er.text.whisper_vocabulary import WhisperTokens, from_whisper

VALUES = {"asr": "really good .", "gender": "male", "emotion": "happy"}


def tokenizer_of(base_tokens, order: str = "asr gender emotion") -> Tokenizer:
    token_type, tokens = base_tokens
    return Tokenizer(tokens, tasks_of(order), token_type, "en")


def test_the_prefix_of_whisper_is_looked_up_by_token(whisper_tokens):
    names = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert whisper_tokens.prefix == whisper_tokenizer().convert_tokens_to_ids(names)
    assert whisper_tokens.end == whisper_tokens.num_text == whisper_tokenizer().convert_tokens_to_ids("<|endoftext|>")


def test_the_language_is_in_the_prefix(whisper_directory, whisper_tokens):
    german = from_whisper(str(whisper_directory), "de").prefix
    assert german[1] == whisper_tokens.find("<|de|>") != whisper_tokens.prefix[1]


def test_a_text_that_ends_within_a_character_ends_before_it(whisper_tokens):
    tokenizer, text = tokenizer_of(("whisper", whisper_tokens)), "და é 😀"
    ids = whisper_tokens.encode(text)
    assert len(ids) == len(f" {text}".encode())  # no merge: a token is a byte
    for length in range(len(ids) + 1):
        whole = f" {text}".encode()[:length].decode(errors="ignore").strip()
        assert tokenizer.decode_text(ids[:length], cut=True) == whole
    assert tokenizer.decode_text(ids[:-1]).endswith("\ufffd")  # of a text that ended by itself, nothing is dropped
    assert tokenizer.decode_text([*ids[:2], *ids[4:]]) == "\ufffdა é 😀"  # in the middle it is what the model wrote


def test_a_language_that_whisper_does_not_know_is_an_error(whisper_directory):
    with pytest.raises(UserError, match="lang=xx"):
        from_whisper(str(whisper_directory), "xx")


def test_the_english_only_checkpoints_have_no_language_in_the_prefix():
    tokens = WhisperTokens(whisper_tokenizer(), 51864, "en", multilingual=False)
    assert tokens.prefix == [tokens.find("<|startoftranscript|>"), tokens.find("<|notimestamps|>")]


def test_task_tokens_follow_the_base_vocabulary_in_the_order_of_the_tasks(base_tokens):
    tokenizer = tokenizer_of(base_tokens, "gender asr emotion")
    first = tokenizer.text.size
    assert tokenizer.task_ids == [[first, first + 1], [], [first + 2, first + 3, first + 4]]
    assert tokenizer.size == first + 5
    assert max(tokenizer.end, *tokenizer.prefix) < first


@pytest.mark.parametrize("order", ORDERS)
def test_a_target_is_the_tasks_in_order_and_endoftext_belongs_to_the_last(base_tokens, order):
    tokenizer = tokenizer_of(base_tokens, order)
    first, text = tokenizer.text.size, tokenizer.text.encode("really good .")
    added = dict(zip([token for task in tokenizer.tasks for token in task.tokens], range(first, first + 5)))
    parts = {"asr": text, "gender": [added["<|male|>"]], "emotion": [added["<|happy|>"]]}
    names = order.split()
    expected = [(index, k) for k, name in enumerate(names) for index in parts[name]] + [(tokenizer.end, 2)]
    assert list(zip(*tokenizer.encode(VALUES))) == expected


@pytest.mark.parametrize("missing", ["asr", "gender", "emotion"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_task_without_a_label_is_not_learned_and_leaves_the_others_as_they_are(base_tokens, order, missing):
    tokenizer = tokenizer_of(base_tokens, order)
    k = order.split().index(missing)
    expected = [(index, owner) for index, owner in zip(*tokenizer.encode(VALUES)) if owner != k]
    ids, owners = tokenizer.encode({**VALUES, missing: ""}, draw=1)
    assert [(index, owner) for index, owner in zip(ids, owners) if owner != UNLEARNED] == expected


def test_a_category_without_a_label_keeps_its_place_with_the_label_that_is_drawn(base_tokens):
    tokenizer = tokenizer_of(base_tokens, "gender asr emotion")
    for draw in range(4):
        ids, owners = tokenizer.encode({**VALUES, "gender": ""}, draw)
        assert (ids[0], owners[0]) == (tokenizer.task_ids[0][draw % 2], UNLEARNED)
    assert UNLEARNED not in tokenizer.encode({**VALUES, "emotion": ""})[1]  # nothing follows it


def test_an_empty_text_is_its_end_where_it_is_the_only_task_and_nothing_beside_others(base_tokens):
    """Paper, eq. 5: y is the text and <|endoftext|>, here I = 1."""
    alone = tokenizer_of(base_tokens, "asr")
    assert alone.encode({"asr": ""}) == ([alone.end], [0])
    assert tokenizer_of(base_tokens, "gender asr").encode({"gender": "male", "asr": ""})[1] == [0]
    assert tokenizer_of(base_tokens, "emotion").encode({"emotion": ""}) == ([], [])  # has no label


@pytest.mark.parametrize("text", [*SENTENCES, "<|happy|>", "<|male|><|happy|>"])
def test_text_comes_back_also_when_it_spells_a_task_token(base_tokens, text):
    tokenizer = tokenizer_of(base_tokens)
    ids, owners = tokenizer.encode({**VALUES, "asr": text})
    words = [index for index, owner in zip(ids, owners) if owner == 0]
    assert words and max(words) < tokenizer.text.num_text
    assert tokenizer.decode_text(ids) == text


def test_whisper_reads_a_word_with_the_space_before_it(whisper_tokens):
    assert whisper_tokens.encode("good") == whisper_tokenizer().convert_tokens_to_ids(["Ġgood"])


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|en|>", "<|0.02|>"])
def test_a_transcript_with_a_special_token_of_whisper_is_an_error(whisper_tokens, special):
    with pytest.raises(UserError, match="special token"):
        whisper_tokens.encode(f"good {special} day")


def test_a_label_whose_token_whisper_has_is_an_error(whisper_tokens):
    with pytest.raises(UserError, match=r"task 'language': its token <\|de\|> .* base vocabulary"):
        Tokenizer(whisper_tokens, [EMOTION, Task("language", "category", ("de", "fr"))], "whisper", "en")


def test_a_label_whose_token_sentencepiece_has_is_an_error():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        model_type="bpe",
        vocab_size=40,
        user_defined_symbols=["<|sad|>"],
        minloglevel=2,
    )
    with pytest.raises(UserError, match=r"task 'emotion': its token <\|sad\|> .* base vocabulary"):
        Tokenizer(SentencePieceTokens(model.getvalue()), [EMOTION], "bpe", "en")


def test_a_label_that_two_tasks_share_is_an_error(base_tokens):
    other = Task("mood", "category", ("calm", "sad"))
    with pytest.raises(UserError, match=r"task 'mood': its token <\|sad\|> .* task 'emotion'"):
        Tokenizer(base_tokens[1], [EMOTION, other], base_tokens[0], "en")


@pytest.mark.parametrize("order", ORDERS)
def test_a_saved_tokenizer_loads_as_it_was(base_tokens, tmp_path, order):
    token_type, tokens = base_tokens
    valence = scale("valence", 1, 5, 3)
    saved = Tokenizer(tokens, [*tasks_of(order), valence], token_type, "en")
    saved.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for name in ("tasks", "task_ids", "prefix", "end", "size", "token_type", "language"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert (loaded.text.size, loaded.text.num_text) == (tokens.size, tokens.num_text)
    for text in SENTENCES:
        values = {**VALUES, "asr": text, "valence": "4.9"}
        assert loaded.encode(values) == saved.encode(values)
        assert loaded.decode_text(loaded.text.encode(text)) == text


def test_an_open_task_is_saved_as_such_and_a_closed_one_without_a_word(bpe_tokens, tmp_path):
    for directory, is_open in (("closed", False), ("open", True)):
        (tmp_path / directory).mkdir()
        tasks = (replace(GENDER, open=is_open), EMOTION)
        Tokenizer(bpe_tokens, tasks, "bpe", "en").save(tmp_path / directory)
        assert load_tokenizer(tmp_path / directory).tasks == tasks
    closed, opened = ((tmp_path / name / "token_list.yaml").read_text() for name in ("closed", "open"))
    assert "open" not in closed and opened.replace("  open: true\n", "") == closed


@pytest.mark.parametrize("wrong, message", [("'yes'", "'open' is 'yes'"), ("true", "asr is open, and no category")])
def test_a_token_list_with_a_wrong_open_is_refused(bpe_tokens, tmp_path, wrong, message):
    Tokenizer(bpe_tokens, tasks_of("asr"), "bpe", "en").save(tmp_path)
    with open(tmp_path / "token_list.yaml", "a") as file:
        file.write(f"  open: {wrong}\n")
    with pytest.raises(UserError, match=message):
        load_tokenizer(tmp_path)


def test_a_base_vocabulary_larger_than_the_tokenizer_keeps_its_size_when_saved(whisper_tokens, tmp_path):
    padded = WhisperTokens(whisper_tokens.tokenizer, whisper_tokens.size + 7, "en")
    Tokenizer(padded, [GENDER], "whisper", "en").save(tmp_path)
    assert load_tokenizer(tmp_path).task_ids == [[whisper_tokens.size + 7, whisper_tokens.size + 8]]


def test_a_directory_without_a_token_list_is_an_error(tmp_path):
    with pytest.raises(UserError, match="token_list.yaml"):
        load_tokenizer(tmp_path)


def test_a_whisper_that_cannot_be_loaded_is_a_one_line_error(tmp_path):
    with pytest.raises(UserError, match="whisper_model") as caught:
        from_whisper(str(tmp_path / "nothing"), "en")
    assert len(str(caught.value).splitlines()) == 1


def test_more_pieces_than_the_transcripts_hold_is_an_error():
    with pytest.raises(UserError, match="bpe_size=5000"):
        train_sentencepiece(SENTENCES, 5000)
