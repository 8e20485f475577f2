"""What an epoch draws when groups of the training set are sampled by a rule."""

from collections import Counter
from unittest import mock

import numpy as np
import pytest
import torch
from tiny_experiment import call, change, train_arguments, write_corpus

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.bin import train as train_program
from whisper_er.config import LossConfig, SamplingConfig, TrainConfig
from whisper_er.data import plan
from whisper_er.data.augment import augmentation
from whisper_er.data.plan import bucketed, shuffled
from whisper_er.data.sampling import apportion, make_sampling, read_sampling
from whisper_er.data.shared_memory import SampleCache
from whisper_er.data.utterances import count_labels, read_utterances
from whisper_er.models import build
from whisper_er.models.losses import CLASS_WEIGHTS
from whisper_er.text.tokenizer import load_tokenizer

EMOTIONS = ["sad"] * 40 + ["happy"] * 7 + ["angry"] * 3


def sampled(values: list[str], rule: str, **options: float):
    return make_sampling(SamplingConfig(rule, "corpus", **options), values)


def drawn(values: list[str], draw_N: np.ndarray) -> Counter:
    """Group -> draws."""
    return Counter(values[draw % len(values)] for draw in draw_N.tolist())


def test_draws_as_computed_by_hand():
    corpora = ["a"] * 64 + ["b"] * 32 + ["c"] * 4
    assert drawn(corpora, sampled(corpora, "balanced").epoch(1)) == {"a": 34, "b": 33, "c": 33}
    # 64, 32 and 4 to the power of 1/2 are 8, 5.657 and 2, in all 15.657: shares of 51.095, 36.130 and 12.774
    assert drawn(corpora, sampled(corpora, "temperature", temperature=2).epoch(1)) == {"a": 51, "b": 36, "c": 13}


def test_apportionment_is_by_largest_remainder_and_gives_each_at_least_one():
    assert apportion(np.array([5.0, 3.0, 2.0]), 4).tolist() == [2, 1, 1]  # 2, 1.2, 0.8
    assert apportion(np.array([6.0, 3.3, 0.7]), 10).tolist() == [6, 3, 1]
    assert apportion(np.array([1000.0, 1000.0, 1.0, 1.0]), 9).tolist() == [4, 3, 1, 1]
    assert apportion(np.array([1e9, 1.0, 1.0]), 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("rule", ["balanced", "temperature"])
@pytest.mark.parametrize("seed", range(5))
def test_an_epoch_of_any_groups_keeps_its_length_and_draws_those_of_a_group_equally_often(rule, seed):
    random = np.random.default_rng(seed)
    values = [f"g{group}" for group in random.zipf(1.3, random.integers(1, 400)) % 9]
    sampling = sampled(values, rule)
    draw_N = sampling.epoch(seed)
    assert len(draw_N) == len(values) == len(set(draw_N.tolist()))
    times = Counter((draw_N % len(values)).tolist())
    for name, count, draws in zip(sampling.names, sampling.count_G.tolist(), sampling.draws_G.tolist()):
        of_group = [times[index] for index, value in enumerate(values) if value == name]
        assert len(of_group) == count and sum(of_group) == draws >= 1
        assert set(of_group) <= {draws // count, -(-draws // count)}
    for draw, repeat in zip(draw_N % len(values), draw_N // len(values)):
        assert repeat < times[draw]


@pytest.mark.parametrize("plan", [bucketed, shuffled])
def test_the_plan_depends_on_the_seed_alone_and_a_temperature_of_1_is_no_sampling(plan):
    lengths = np.random.default_rng(1).integers(8_000, 160_000, len(EMOTIONS) * 9)
    values = EMOTIONS * 9
    epochs = {rule: sampled(values, rule, temperature=1).epoch for rule in ("temperature", "balanced")}
    for seed in (3, 4):
        before = plan(lengths, 4, seed)
        assert plan(lengths, 4, seed, epochs["temperature"](seed)) == before
    balanced = plan(lengths, 4, 3, epochs["balanced"](3))
    assert balanced == plan(lengths, 4, 3, epochs["balanced"](3))
    assert sorted(sum(balanced, [])) == epochs["balanced"](3).tolist() != epochs["balanced"](4).tolist()
    assert len(balanced) == len(before)


def test_repeats_of_an_utterance_do_not_meet_in_one_batch(monkeypatch):
    """27 angry utterances fill a third of the batches."""
    values = EMOTIONS * 9
    lengths = np.random.default_rng(1).integers(8_000, 160_000, len(values))
    draw_N = sampled(values, "balanced").epoch(1)
    different = []
    for spread in (0, plan.SPREAD):
        monkeypatch.setattr(plan, "SPREAD", spread)
        batches = bucketed(lengths, 10, 1, draw_N)
        different.append(np.mean([len({draw % len(values) for draw in batch}) for batch in batches]))
    assert different[1] > different[0] + 0.5


def test_the_weights_of_classes_count_what_is_drawn(corpus, tmp_path):
    tokenizer = load_tokenizer(corpus / "token_list")
    train = read_utterances(corpus / "train", tokenizer, "error")
    assert count_labels(train, tokenizer.tasks, np.array([2.0, 0.4] * 5 + [2.0]))["emotion"] == [2, 12]
    overrides = ["sampling.rule=balanced", "sampling.by=emotion", "max_steps=0"]
    with mock.patch.object(build, "build_model", wraps=build.build_model) as built:
        call(train_program, *train_arguments(corpus, tmp_path, *overrides))
    assert built.call_args.args[2]["emotion"] == [6, 5]  # of 5 happy and 6 sad ones


def test_classes_that_are_balanced_weigh_the_same():
    skewed = sampled(EMOTIONS * 3, "balanced")
    assert set(skewed.draws_G.tolist()) == {50}
    count_C = np.bincount(skewed.group_N, skewed.draws_N())
    torch.testing.assert_close(
        CLASS_WEIGHTS["inverse"](torch.tensor(count_C), LossConfig()), torch.ones(3, dtype=torch.float64)
    )


def test_utterances_without_a_value_are_drawn_once(corpus):
    train = read_utterances(corpus / "train", load_tokenizer(corpus / "token_list"), "error")
    sampling = read_sampling(SamplingConfig("balanced", "gender"), corpus / "train", train.utt_ids)
    assert sampling.describe() == "sampling: balanced by gender: (no value) 3 -> 3, female 4 -> 4, male 4 -> 4"
    some = ["", "", "", "a", "a", "a", "a", "a", "b"]
    assert drawn(some, sampled(some, "balanced").epoch(1)) == {"": 3, "a": 3, "b": 3}


def test_each_repeat_is_augmented_anew(corpus):
    change = augmentation({"speed": {"factors": [0.9, 1.0, 1.1]}}, seed=1)(0)
    lengths = {len(change("utt", np.ones(1000, np.float32), repeat)) for repeat in range(20)}
    assert len(lengths) == 3
    first = [change("utt", np.ones(1000, np.float32), *repeat) for repeat in ((), (0,))]
    np.testing.assert_array_equal(*first)


def test_what_a_process_decodes_may_be_read_in_the_next_epoch(tmp_path, monkeypatch):
    """In the same epoch, another process may be about to write it."""
    decoded = []
    monkeypatch.setattr("whisper_er.data.shared_memory.plain_samples", lambda *_: None)
    monkeypatch.setattr(
        "whisper_er.data.shared_memory.decode", lambda entry, utt_id: decoded.append(utt_id) or np.ones(9, np.int16)
    )
    cache = SampleCache(np.array([9]), 1e9)
    for _ in range(2):
        cache.load(0, "a.flac", "utt")
    cache.start_epoch()
    assert cache.load(0, "a.flac", "utt").tolist() == [1] * 9 and len(decoded) == 2


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["rule=balance"], "sampling: rule: 'balance' is not allowed; allowed: natural balanced temperature"),
        (["rule=balanced"], "sampling.by: '' is not allowed; allowed: with sampling.rule=balanced the name of a table"),
        (["by=corpus"], "sampling.rule: natural is not allowed; allowed: with sampling.by=corpus balanced or"),
        (["by=corpus", "temperature=0.5"], "sampling: temperature: 0.5 is not allowed; allowed: 1 to"),
    ],
)
def test_settings_that_are_refused(corpus, overrides, message):
    with pytest.raises(UserError) as caught:
        load(TrainConfig, corpus / "train.yaml", [f"sampling.{override}" for override in overrides])
    assert message in str(caught.value)


def test_a_table_that_cannot_group_is_named(tmp_path):
    train = write_corpus(tmp_path / "corpus") / "train"
    utt_ids = [f"train-{index:02d}" for index in range(11)]

    def refusal(by: str) -> str:
        with pytest.raises(UserError) as caught:
            read_sampling(SamplingConfig("balanced", by), train, utt_ids)
        return str(caught.value)

    (train / "utt2emotion_votes").touch()
    for by in ("corpus", "num_samples", "emotion_votes"):
        assert refusal(by).startswith(f"{train}/utt2{by}: no table of groups, and sampling.by={by} groups")
        assert refusal(by).endswith("take one that is there: emotion gender spk")
    change(train, "utt2emotion", train_00="Sad")
    assert "'Sad' and 'sad' differ in nothing but case" in refusal("emotion")
    (train / "utt2corpus").write_text("".join(f"{utt_id}\n" for utt_id in utt_ids))
    assert "utt2corpus: no utterance has a value" in refusal("corpus")
