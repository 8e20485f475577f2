"""When tokens and words were spoken: cross-attention, dynamic time warping, words, pauses."""

import numpy as np
import pytest
import torch
from tiny_whisper import ORDERS, SENTENCES, sound, tasks_of, tiny_model
from transformers import WhisperConfig, WhisperModel

from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.data.collate import unlabelled
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.timing.alignment import attention_weights, dtw, median
from whisper_er.timing.heads import PUBLISHED, alignment_heads
from whisper_er.timing.spans import Word
from whisper_er.timing.words import apart, find_words, to_words, word_spans

LABELS = {"gender": "male", "emotion": "sad"}


def cheapest(cost: np.ndarray, row: int = 0, column: int = 0) -> float:
    """The cost of the cheapest path, by trying all of them."""
    after = [
        cheapest(cost, row + down, column + right)
        for down, right in ((1, 1), (1, 0), (0, 1))
        if row + down < cost.shape[0] and column + right < cost.shape[1]
    ]
    return cost[row, column] + min(after, default=0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 3), (3, 6), (5, 5), (6, 3)])
def test_the_path_of_dtw_is_the_cheapest_of_all(shape):
    for seed in range(5):
        cost = np.random.default_rng(seed).normal(size=shape)
        rows, columns = dtw(cost)
        steps = np.diff([rows, columns]).T.tolist()
        assert (rows[0], columns[0]) == (0, 0) and (rows[-1] + 1, columns[-1] + 1) == shape
        assert all(step in ([1, 1], [1, 0], [0, 1]) for step in steps)
        assert cost[rows, columns].sum() == pytest.approx(cheapest(cost))


def test_the_median_is_of_the_seven_frames_around():
    values = torch.tensor([[5.0, 1, 4, 9, 2, 8, 3, 7]])
    padded = [5.0, 5, 5, *values[0].tolist(), 7, 7, 7]
    assert median(values)[0].tolist() == [sorted(padded[i : i + 7])[3] for i in range(8)]


@pytest.mark.parametrize("pad", ["none", "30s"])
def test_the_weights_are_those_of_transformers(whisper_directory, whisper_tokens, pad):
    tokenizer = Tokenizer(whisper_tokens, tasks_of("asr emotion"), "whisper", "en")
    config = TrainConfig(model=ModelConfig(whisper_model=str(whisper_directory), pad=pad))
    model = build_model(config, tokenizer).eval()
    theirs = WhisperModel.from_pretrained(whisper_directory, attn_implementation="eager").eval()
    batch = unlabelled([sound(24000, 0), sound(16000, 1)], tokenizer, model.max_target)
    targets = [whisper_tokens.encode("a good day"), whisper_tokens.encode("good")]
    for b, (found, frames) in enumerate(zip(attention_weights(model, batch, targets, ""), (75, 50), strict=True)):
        states_BTD, mask_BT = model.encode(batch)
        states = states_BTD[b : b + 1] if mask_BT is None else states_BTD[b : b + 1, mask_BT[b]]
        inputs = torch.tensor([[*tokenizer.prefix, *targets[b]]])
        with torch.no_grad():
            attentions = theirs.decoder(inputs, encoder_hidden_states=states, output_attentions=True).cross_attentions
        expected = attentions[1][0, :, :, :frames]  # both heads of the upper of two layers
        torch.testing.assert_close(found, expected / expected.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_the_words_are_those_of_the_text_in_order_and_within_the_audio(base_tokens, order):
    token_type, tokens = base_tokens
    model = tiny_model(Tokenizer(tokens, tasks_of(order), token_type, "en"))
    waves = [sound(16000 + 8000 * index, index) for index in range(4)]
    values = [{"asr": text} | LABELS for text in (*SENTENCES[:3], "")]
    batch = unlabelled(waves, model.tokenizer, model.max_target)
    found = find_words(model, batch, values, "")
    for wave, value, words in zip(waves, values, found):
        assert [word.text for word in words] == value["asr"].split()
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times) and all(0 <= time <= len(wave) / 16000 for time in times)
    assert len({word.start for words in found for word in words}) > 3


def test_words_without_positions_in_the_decoder_end_where_the_others_do(whisper_tokens):
    model = tiny_model(Tokenizer(whisper_tokens, tasks_of("asr emotion"), "whisper", "en"))
    text = " ".join(["good", "day", "<|endoftext|>"] * 30)
    (words,) = find_words(model, unlabelled([sound(16000, 0)], model.tokenizer, 64), [{"asr": text} | LABELS], "")
    assert " ".join(word.text for word in words) == text
    assert words[0].start < words[-1].start == words[-1].end == words[-2].end <= 1.0


def test_a_word_lasts_from_its_first_token_to_its_last_letter(whisper_tokens):
    tokenizer = Tokenizer(whisper_tokens, tasks_of("asr"), "whisper", "en")
    ids = whisper_tokens.encode("hé, good!")
    pieces = [whisper_tokens.tokenizer.convert_ids_to_tokens(index) for index in ids]
    assert pieces == ["Ġh", "Ã", "©", ",", "Ġgood", "!"]
    words = to_words(ids, np.arange(7.0), tokenizer)
    assert words == (Word(0.0, 3.0, "hé,"), Word(4.0, 5.0, "good!"))


def test_what_each_token_brings_is_a_word_in_a_script_without_spaces():
    assert word_spans("今日は ok day", [1, 1, 3, 6, 10]) == [(0, 1), (1, 3), (4, 6), (7, 10)]
    assert word_spans("「今日」は。", [1, 2, 3, 4, 5, 6]) == [(0, 2), (2, 4), (4, 6)]


def test_a_word_reaches_into_no_pause_and_its_neighbour_gets_the_rest():
    speech = [(0.5, 1.0), (2.0, 3.0)]
    words = [Word(0.0, 0.8, "a"), Word(0.8, 2.4, "b"), Word(2.4, 3.2, "c")]
    assert apart(words, speech) == (Word(0.5, 1.0, "a"), Word(2.0, 2.4, "b"), Word(2.4, 3.0, "c"))
    words = [Word(0.6, 2.3, "a"), Word(2.3, 2.9, "b")]
    assert apart(words, [(0.5, 1.5), (2.0, 3.0)]) == (Word(0.6, 1.5, "a"), Word(2.0, 2.9, "b"))
    assert apart(words, []) == tuple(words)


@pytest.mark.parametrize("shape", PUBLISHED)
def test_the_published_heads_are_in_their_model(shape):
    layers, heads, mel_bins, multilingual = shape
    config = WhisperConfig(decoder_layers=layers, decoder_attention_heads=heads, num_mel_bins=mel_bins)
    found = alignment_heads(config, multilingual)
    assert found and max(found) < layers and max(head for own in found.values() for head in own) < heads


def test_a_model_of_another_shape_aligns_by_the_upper_half_of_its_layers():
    assert alignment_heads(WhisperConfig(decoder_layers=5, decoder_attention_heads=2), True) == {
        2: [0, 1],
        3: [0, 1],
        4: [0, 1],
    }
