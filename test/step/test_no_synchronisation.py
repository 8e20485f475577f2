"""What runs on a GPU, run on `meta`: it refuses a mix of devices, as a GPU does, and holds no value that could be read.

A training step runs through, so it reads nothing from its device. A search reads one thing a step, which of its
utterances still run; here that is told to it.
"""

from contextlib import nullcontext

import pytest
import torch
from tiny_experiment import call, write_corpus

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.bin import token_list as token_list_program
from whisper_er.config import DecodeConfig, DistilConfig, TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.batches import load as load_batches
from whisper_er.data.plan import by_length
from whisper_er.data.utterances import read_utterances
from whisper_er.graphs.passes import Passes
from whisper_er.models.build import build_model
from whisper_er.retain.distillation import Distillation
from whisper_er.search import beam
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

SPECAUG = ["model.specaug.time_masks=2", "model.specaug.freq_masks=2"]
TRAIN_PAD = "model.train_pad={none: 0.5, to 1: 0.5}"


META = torch.device("meta")
systems = pytest.mark.parametrize("kind, token_list", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # it knows no `meta`


def prepare(tmp_path, kind: str, token_list: str, *options: str):
    corpus = write_corpus(tmp_path / "corpus")
    if token_list == "with_scale":
        add_scale_and_votes(corpus, "asr gender emotion" if kind == "seq2seq" else "gender emotion")
    tokenizer = load_tokenizer(corpus / token_list)
    config = load(TrainConfig, corpus / "train.yaml", [f"model.kind={kind}", *options])
    trainer = Trainer(build_model(config, tokenizer).to(META), tokenizer, config, tmp_path, META)
    return trainer, read_utterances(corpus / "train", tokenizer, "error", soft_labels=config.loss.soft_labels)


def add_scale_and_votes(corpus, tasks: str) -> None:
    utt_ids = list(kaldi.read_table(corpus / "train/utt2spk"))
    kaldi.write_table(corpus / "train/utt2emotion_votes", dict.fromkeys(utt_ids, "sad:1 happy:2"))
    kaldi.write_table(corpus / "train/utt2valence", {utt_id: str(1 + i % 5) for i, utt_id in enumerate(utt_ids)})
    call(token_list_program, "--train_set", corpus / "train", "--tasks", f"{tasks} valence", "--scales",
         "valence=1:5:5", "--token_type", "bpe", "--bpe_size", 16, "--out_dir", corpus / "with_scale")  # fmt: skip


@systems
@pytest.mark.parametrize("options", [[], [*SPECAUG, TRAIN_PAD, "optim.grad_clip=1", "accum_grad=2"]])
def test_a_step_waits_for_nothing(tmp_path, kind, token_list, options, teacher=False):
    trainer, utterances = prepare(tmp_path, kind, token_list, *options)
    if teacher:
        other = build_model(trainer.config, trainer.tokenizer).to(META)
        trainer.model.distillation = Distillation(other, DistilConfig(temperature=2.0), normalize=True)
    trainer.optimizer.step = lambda: None  # the fused AdamW knows no `meta`
    batches, size = next(trainer.steps(utterances))
    assert len({int(samples) for batch in batches for samples in batch.samples_B}) > 1  # with masks
    sums = Sums(0)
    for graphs in (None, Passes(trainer.model, trainer.config, META, trainer.backward.copies.in_use, rehearse=True)):
        trainer.backward.graphs = graphs
        for _ in range(2):  # with graphs one to warm up, and one that would be captured
            step = trainer.step(batches, size, sums)
        for reads in (step.verdict_3.tolist, sums.total):
            with pytest.raises((RuntimeError, NotImplementedError)):
                reads()  # what would have stopped the step


def test_a_step_of_a_frozen_encoder_under_weighted_layers_waits_for_nothing(tmp_path):
    options = ["freeze=[encoder]", "model.layers=weighted", "model.head_width=5"]
    test_a_step_waits_for_nothing(tmp_path, "encoder_classifier", "label_list", options)


@pytest.mark.parametrize(
    "kind, options",
    [
        ("seq2seq", ["loss.soft_labels=[emotion]", "loss.scale=ccc", "loss.task_weights.asr=0.5"]),
        ("seq2seq", ["loss.scale=ordinal", "loss.category=focal"]),
        ("encoder_classifier", ["loss.soft_labels=[emotion]", "loss.scale=ccc", "loss.task_weights.gender=0"]),
        ("encoder_classifier", ["loss.scale=ordinal"]),
    ],
)
def test_a_step_of_other_losses_waits_for_nothing(tmp_path, kind, options):
    teacher = kind == "seq2seq" and "loss.scale=ccc" in options
    test_a_step_waits_for_nothing(tmp_path, kind, "with_scale", options, teacher)


def test_a_loss_of_scales_that_has_nothing_to_learn_from_is_refused(tmp_path):
    for token_list, option, message in (
        ("token_list", "loss.scale=ordinal", "loss.scale=ordinal: no task is a scale"),
        ("with_scale", "batch_size=1", "batch_size: of 1 utterances each of 1 processes sees fewer"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(tmp_path / token_list, "seq2seq", token_list, "loss.scale=ccc", option)


@systems
@pytest.mark.parametrize(
    "options", [{"beam_size": 1, "no_repeat_ngram_size": 2}, {"suppress": "whisper"}, {"grammar": "free"}]
)
def test_a_validation_batch_and_a_search_mix_no_devices(tmp_path, monkeypatch, kind, token_list, options):
    trainer, utterances = prepare(tmp_path, kind, token_list)
    model, running = trainer.model.eval(), iter([[0, 1, 2], [0, 2], [1], []])
    plan = by_length(utterances.num_samples_N[:3], 3)
    (batch,) = load_batches(utterances, plan, trainer.tokenizer, model.max_target, 0, META)
    batch = batch.to(META)
    encoded = model.encode(batch)
    assert model(batch, encoded).loss.is_meta
    monkeypatch.setattr(beam, "positions", lambda mask_B: torch.tensor(next(running), dtype=torch.long, device=META))
    decoding = DecodeConfig(**options)
    answers = model.answer(batch, decoding, encoded)
    assert (next(running, None) is None) == (kind == "seq2seq")  # all steps of the search were made
    with pytest.raises((RuntimeError, NotImplementedError)):
        model.read(batch.utt_ids, answers, decoding)
