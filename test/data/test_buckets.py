"""Length-bucketed batches: what an epoch is made of."""

import numpy as np
import pytest

from whisper_er.data.plan import bucketed, by_length, by_seconds, shuffled
from whisper_er.data.utterances import count_labels, read_utterances
from whisper_er.text.tokenizer import load_tokenizer

NUM_SAMPLES = np.random.default_rng(1).integers(8_000, 160_000, 1003)


def padding(batches: list[list[int]]) -> float:
    """Share of the padded samples that are padding."""
    lengths = [[NUM_SAMPLES[index] for index in batch] for batch in batches]
    return 1 - sum(map(sum, lengths)) / sum(max(row) * len(row) for row in lengths)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 2000])
def test_an_epoch_holds_every_utterance_once(batch_size):
    epochs = [draw(NUM_SAMPLES, batch_size, seed=3) for draw in (bucketed, shuffled)]
    for batches in (*epochs, by_length(NUM_SAMPLES, batch_size)):
        assert sorted(index for batch in batches for index in batch) == list(range(1003))
        assert max(map(len, batches)) == min(batch_size, 1003)


def test_batches_by_seconds_hold_every_utterance_once_and_last_no_longer_filled_up_to_the_longest():
    batches = by_seconds(NUM_SAMPLES, 60)
    assert sorted(index for batch in batches for index in batch) == list(range(1003))
    for batch, after in zip(batches, batches[1:]):
        longest = NUM_SAMPLES[batch].max()
        assert longest * len(batch) <= 60 * 16_000 < longest * (len(batch) + 1)
        assert NUM_SAMPLES[batch].min() >= NUM_SAMPLES[after].max()
    assert list(map(len, by_seconds(NUM_SAMPLES, 0.1))) == [1] * 1003


@pytest.mark.parametrize("batch_size", [7, 16])
def test_an_epoch_has_no_more_batches_than_it_needs(batch_size):
    """The trainer counts ceil(utterances / batch_size) of them to find its place again."""
    for draw in (bucketed, shuffled):
        assert len(draw(NUM_SAMPLES, batch_size, seed=3)) == -(-1003 // batch_size)


@pytest.mark.parametrize("draw", [bucketed, shuffled])
def test_the_same_seed_gives_the_same_epoch(draw):
    assert draw(NUM_SAMPLES, 16, seed=3) == draw(NUM_SAMPLES, 16, seed=3)


@pytest.mark.parametrize("draw", [bucketed, shuffled])
def test_two_epochs_differ_in_the_order_and_in_the_members_of_their_batches(draw):
    first, second = draw(NUM_SAMPLES, 16, seed=3), draw(NUM_SAMPLES, 16, seed=4)
    assert first != second
    assert not set(map(frozenset, first)) & set(map(frozenset, second))


def test_batches_do_not_come_in_the_order_of_their_length():
    few = NUM_SAMPLES[:700]  # that are sorted together
    longest = [max(few[index] for index in batch) for batch in bucketed(few, 16, seed=3)]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_padding_is_a_small_part_of_what_a_random_order_has():
    order = np.random.default_rng(0).permutation(1003).tolist()
    by_chance = padding([order[start : start + 16] for start in range(0, 1003, 16)])
    assert padding(bucketed(NUM_SAMPLES, 16, seed=3)) < by_chance / 5
    assert padding(shuffled(NUM_SAMPLES, 16, seed=3)) == pytest.approx(by_chance, rel=0.1)
    assert by_chance > 0.3


def test_validation_and_decoding_start_with_the_longest():
    lengths = [NUM_SAMPLES[index] for batch in by_length(NUM_SAMPLES, 16) for index in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_labels_of_categories_are_counted_in_the_order_of_the_token_list(corpus):
    tokenizer = load_tokenizer(corpus / "token_list")
    train = read_utterances(corpus / "train", tokenizer, "error")
    # 11 utterances: sad and happy in turn; male, female and no gender in turn.
    assert count_labels(train, tokenizer.tasks) == {"gender": [4, 4], "emotion": [5, 6]}
