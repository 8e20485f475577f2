"""Two utterances at once with the labels of both: samples, targets, and what is drawn."""

import numpy as np
import pytest
import torch
import yaml
from tiny_experiment import call, change, train_and_average, write_corpus

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.batch import IGNORE
from whisper_er.bin import augment_dir
from whisper_er.config import TrainConfig
from whisper_er.data.batches import load
from whisper_er.data.mixing import add, make_mixing
from whisper_er.data.shared_memory import SampleCache
from whisper_er.data.utterances import read_utterances
from whisper_er.text.tokenizer import load_tokenizer

DEVICE = torch.device("cpu")
K = 2  # of the task emotion
PLAN = [[0, 1, 2, 3], [4, 5, 11]]  # 11 is the first one of 11 again


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_sum_has_the_length_of_the_first_and_the_ratio_that_was_asked_for():
    own = np.sin(np.arange(1000)).astype(np.float32)
    for other in (np.full(300, 0.2, np.float32), np.linspace(0.1, 0.5, 1700).astype(np.float32)):
        mixed = add(own, other, 6.0, random())
        added = mixed - own
        heard = np.flatnonzero(np.abs(added) > 1e-7)
        assert len(mixed) == 1000 and mixed.dtype == np.float32 and len(heard) == min(1000, len(other))
        assert heard[-1] - heard[0] == len(heard) - 1 and (heard[0] > 0 or len(other) > 1000)
        ratio = np.mean(own**2) / np.mean(added[heard] ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(6.0, abs=1e-3)
    assert add(own, np.zeros(300, np.float32), 6.0, random()) is None
    assert add(np.zeros(300, np.float32), own, 6.0, random()) is None


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_corpus(tmp_path_factory.mktemp("mixing") / "corpus")
    change(root / "train", "utt2emotion", train_03="")
    return root


def config_of(snr: list[float], share: float = 1.0, **more) -> TrainConfig:
    mix = {"snr": snr, "share": share}
    return build(TrainConfig, {"augment": {"mix": mix}, "loss": {"soft_labels": ["emotion"]}, **more}, "train.yaml")


def batches(root, config: TrainConfig | None, epoch: int = 0, num_workers: int = 0) -> list:
    tokenizer = load_tokenizer(root / "token_list")
    utterances = read_utterances(root / "train", tokenizer, "error", soft_labels=["emotion"], needs_votes=False)
    cache = SampleCache(utterances.num_samples_N, 1e9)
    mixing = config and make_mixing(config, utterances, tokenizer.tasks, cache)
    more = {"cache": cache, "overlay": mixing and mixing.epoch(epoch)}
    return list(load(utterances, PLAN, tokenizer, 40, num_workers, DEVICE, **more))


@pytest.mark.parametrize("snr, own_share", [(0.0, 0.5), (6.0206, 2 / 3), (20.0, 10 / 11)])
def test_the_target_is_shared_by_amplitude_and_all_else_is_the_firsts(root, snr, own_share):
    other_labels = 0
    for plain, mixed in zip(batches(root, None), batches(root, config_of([snr, snr])), strict=True):
        for field in ("input_BL", "target_BL", "task_BL", "label_BK", "samples_B"):
            assert torch.equal(getattr(plain, field), getattr(mixed, field))
        plain_BS = plain.wave_BS.float() / 2**15
        for b, label in enumerate(plain.label_BK[:, K].tolist()):
            added = mixed.wave_BS[b] - plain_BS[b]
            if label == IGNORE:  # nothing to share
                assert not added.any() and not mixed.soft_BKC[b].any()
                continue
            heard = added[added.abs() > 1e-7]
            own_power = plain_BS[b, : plain.samples_B[b]].square().mean()
            assert 10 * (own_power / heard.square().mean()).log10() == pytest.approx(snr, abs=0.1)
            target = mixed.soft_BKC[b, K].tolist()
            assert sum(target) == pytest.approx(1) and target[label] == pytest.approx([1, own_share][target[label] < 1])
            other_labels += target[label] < 1
    assert 0 < other_labels < 6


def test_it_is_drawn_by_epoch_and_repeat_and_not_by_the_process_that_reads(root):
    config = config_of([0, 20])
    here, again, there = batches(root, config), batches(root, config), batches(root, config, num_workers=1)
    for first, *others in zip(here, again, there):
        for other in others:
            assert torch.equal(first.wave_BS, other.wave_BS) and torch.equal(first.soft_BKC, other.soft_BKC)
    length = int(here[0].samples_B[0])
    repeat, later, seeded = (
        here[1].wave_BS[2],
        batches(root, config, 1)[0],
        batches(root, config_of([0, 20], seed=2))[0],
    )
    for other in (repeat, later.wave_BS[0], seeded.wave_BS[0]):
        assert not torch.equal(here[0].wave_BS[0, :length], other[:length])


def test_a_share_of_none_is_no_change_and_without_mix_there_is_no_overlay(root):
    for plain, mixed in zip(batches(root, None), batches(root, config_of([0, 20], share=0.0)), strict=True):
        assert torch.equal(plain.wave_BS, mixed.wave_BS) and plain.wave_BS.dtype == mixed.wave_BS.dtype
        assert torch.equal(plain.soft_BKC, mixed.soft_BKC)
        assert torch.equal(plain.soft_BKC[:, K].sum(1), (plain.label_BK[:, K] != IGNORE).float())
    assert make_mixing(TrainConfig(), None, (), None) is None


@pytest.mark.parametrize("kind, tokens", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])
def test_a_model_is_trained_and_validated_without_tables_of_votes(root, tmp_path, kind, tokens):
    mix = ["augment.mix.share=1", "augment.gain.share=1", "loss.soft_labels=[gender,emotion]", f"model.kind={kind}"]
    more = ["max_steps=3", "num_workers=1", "--token_list", root / tokens]
    train_and_average(root, tmp_path / "exp", *mix, *more)
    recorded = yaml.safe_load((tmp_path / "exp/config.yaml").read_text())
    assert (
        recorded["augment"]["mix"] == {"share": 1.0, "snr": [0.0, 20.0]} and (tmp_path / "exp/ave.safetensors").exists()
    )


def test_what_cannot_be_mixed_is_one_line(root, tmp_path):
    with pytest.raises(UserError, match=r"loss.soft_labels: \[\] is not allowed; allowed: with augment.mix"):
        build(TrainConfig, {"augment": {"mix": {}}}, "train.yaml")
    with pytest.raises(UserError, match=r"augment.mix: snr: \[-3.0, 5.0\] is not allowed.*the louder one"):
        config_of([-3, 5])
    with pytest.raises(UserError, match="'mix' is not allowed; allowed: speed reverb"):
        call(augment_dir, "--data_dir", root / "test", "--out_dir", tmp_path / "copy", "mix.share=1")
    change(root / "train", "utt2emotion", **{f"train_{n:02d}": "" for n in range(1, 11)})
    with pytest.raises(
        UserError, match="augment.mix: 1 training utterances have a label for emotion, and it takes two"
    ):
        batches(root, config_of([0, 20]))
