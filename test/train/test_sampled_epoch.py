"""The steps of an epoch, of all processes together, hold what its sampling draws."""

from collections import Counter

import pytest
import torch

from whisper_er.base.settings import load
from whisper_er.config import TrainConfig
from whisper_er.data.sampling import make_sampling
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.process import distributed
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train.trainer import Trainer

CORPORA = ["small"] * 2 + ["large"] * 9  # of train-00 ... train-10


@pytest.mark.parametrize("bucketing", ["true", "false"])
def test_two_processes_share_an_epoch_in_which_each_corpus_is_drawn_as_often(corpus, tmp_path, monkeypatch, bucketing):
    overrides = ["sampling.rule=balanced", "sampling.by=corpus", "batch_size=2", "accum_grad=2"]
    config = load(TrainConfig, corpus / "train.yaml", [*overrides, f"bucketing={bucketing}"])
    tokenizer = load_tokenizer(corpus / "token_list")
    train = read_utterances(corpus / "train", tokenizer, "error")
    trainer = Trainer(build_model(config, tokenizer), tokenizer, config, tmp_path, torch.device("cpu"))
    sampling, drawn = make_sampling(config.sampling, CORPORA), Counter()
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        steps = trainer.steps(train, sampling=sampling)
        for micro_batches, _ in (next(steps) for _ in range(3)):  # 11 draws, 4 a step; without any it runs one silenced
            drawn.update(utt for batch in micro_batches if batch.learned_N.numel() for utt in batch.utt_ids)
    small = [drawn[f"train-{index:02d}"] for index in range(2)]
    assert sum(drawn.values()) == 11 and sum(small) == 5 and sorted(small) == [2, 3]
    assert max(drawn[f"train-{index:02d}"] for index in range(2, 11)) == 1
