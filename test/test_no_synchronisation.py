"""A training step reads no value from its device: on `meta`, where there are none to read, it runs through."""

from contextlib import nullcontext

import pytest
import torch
from tiny_experiment import write_corpus

from whisper_er.config import TrainConfig, load
from whisper_er.dataset import read_utterances
from whisper_er.models.build import build_model
from whisper_er.tokenizer import load_tokenizer
from whisper_er.train_log import Sums
from whisper_er.trainer import Trainer

SPECAUG = ["model.specaug.time_masks=2", "model.specaug.freq_masks=2"]


@pytest.mark.parametrize("kind, token_list", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])
@pytest.mark.parametrize("options", [[], [*SPECAUG, "optim.grad_clip=1", "accum_grad=2"]])
def test_a_step_waits_for_nothing(tmp_path, monkeypatch, kind, token_list, options):
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # it knows no `meta`
    corpus = write_corpus(tmp_path / "corpus")
    tokenizer = load_tokenizer(corpus / token_list)
    config = load(TrainConfig, corpus / "train.yaml", [f"model.kind={kind}", *options])
    device = torch.device("meta")
    trainer = Trainer(build_model(config, tokenizer).to(device), tokenizer, config, tmp_path, device)
    trainer.optimizer.step = lambda: None  # the fused AdamW knows no `meta`
    batches, size = next(trainer.steps(read_utterances(corpus / "train", tokenizer, "error")))
    assert len({int(samples) for batch in batches for samples in batch.samples_B}) > 1  # with masks
    sums = Sums(0)
    step = trainer.step(batches, size, sums)
    for reads in (step.verdict_3.tolist, sums.total):
        with pytest.raises((RuntimeError, NotImplementedError)):
            reads()  # what would have stopped the step
