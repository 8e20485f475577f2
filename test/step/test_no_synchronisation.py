"""A step on a GPU, which is pretended: it waits for nothing, so that the next one is prepared meanwhile."""

import pretended_gpu
import pytest
import torch
from tiny_experiment import write_corpus, write_scale_and_votes

from whisper_er.base.errors import UserError
from whisper_er.base.settings import load
from whisper_er.config import DistilConfig, TrainConfig
from whisper_er.data.utterances import read_utterances
from whisper_er.graphs.passes import Passes
from whisper_er.models.build import build_model
from whisper_er.retain.distillation import Distillation
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

SPECAUG = ["model.specaug.time_masks=2", "model.specaug.freq_masks=2"]
TRAIN_PAD = "model.train_pad={none: 0.5, to 1: 0.5}"
systems = pytest.mark.parametrize("kind, token_list", [("seq2seq", "token_list"), ("encoder_classifier", "label_list")])


@pytest.fixture
def corpus(tmp_path):
    root = write_corpus(tmp_path / "corpus")
    write_scale_and_votes(root)
    return root


def prepare(corpus, kind: str, token_list: str, *options: str, device: torch.device):
    tokenizer = load_tokenizer(corpus / token_list)
    config = load(TrainConfig, corpus / "train.yaml", [f"model.kind={kind}", *options])
    trainer = Trainer(build_model(config, tokenizer).to(device), tokenizer, config, corpus, device)
    return trainer, read_utterances(corpus / "train", tokenizer, "error", soft_labels=config.loss.soft_labels)


def check(corpus, kind: str, token_list: str, options: list[str], teacher: bool = False) -> None:
    with pretended_gpu.pretended_gpu() as gpu:
        trainer, utterances = prepare(corpus, kind, token_list, *options, device=gpu)
        if teacher:
            other = build_model(trainer.config, trainer.tokenizer).to(gpu)
            trainer.model.distillation = Distillation(other, DistilConfig(temperature=2.0), normalize=True)
        batches, size = next(trainer.steps(utterances))
        assert len({int(samples) for batch in batches for samples in batch.samples_B}) > 1  # with masks
        sums = Sums(0)
        for graphs in (None, Passes(trainer.model, trainer.config, gpu, trainer.backward.copies.in_use, rehearse=True)):
            trainer.backward.graphs = graphs
            pretended_gpu.waits.clear()
            for _ in range(3):  # with graphs: to warm up, captured, again
                step = trainer.step(batches, size, sums)
                trainer.judge.add(step)
            assert pretended_gpu.waits == []
        trainer.judge.finish()
        assert trainer.judge.skipped == 0 and step.verdict_3.tolist() == [0, 0, 0] and pretended_gpu.waits == []


@systems
@pytest.mark.parametrize("options", [[], [*SPECAUG, TRAIN_PAD, "optim.grad_clip=1", "accum_grad=2"]])
def test_a_step_waits_for_nothing(corpus, kind, token_list, options):
    check(corpus, kind, token_list, options)


def test_a_step_of_a_frozen_encoder_under_weighted_layers_waits_for_nothing(corpus):
    options = ["freeze=[encoder]", "model.layers=weighted", "model.head_width=5"]
    check(corpus, "encoder_classifier", "label_list", options)


@pytest.mark.parametrize(
    "kind, token_list, options",
    [
        ("seq2seq", "scale", ["loss.soft_labels=[emotion]", "loss.scale=ccc", "loss.task_weights.asr=0.5"]),
        ("seq2seq", "scale", ["loss.scale=ordinal", "loss.category=focal"]),
        ("encoder_classifier", "scale_labels",
         ["loss.soft_labels=[emotion]", "loss.scale=ccc", "loss.task_weights.gender=0"]),
        ("encoder_classifier", "scale_labels", ["loss.scale=ordinal"]),
    ],
)  # fmt: skip
def test_a_step_of_other_losses_waits_for_nothing(corpus, kind, token_list, options):
    check(corpus, kind, token_list, options, teacher=kind == "seq2seq" and "loss.scale=ccc" in options)


def test_a_loss_of_scales_that_has_nothing_to_learn_from_is_refused(corpus):
    for token_list, option, message in (
        ("token_list", "loss.scale=ordinal", "loss.scale=ordinal: no task is a scale"),
        ("scale", "batch_size=1", "batch_size: of 1 utterances each of 1 processes sees fewer"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(corpus, "seq2seq", token_list, "loss.scale=ccc", option, device=torch.device("cpu"))
