"""accum_grad forward passes of batch_size utterances make the update of one pass over all of them."""

import numpy as np
import pytest
import torch

from whisper_er.base.packed_strings import PackedStrings
from whisper_er.base.settings import load
from whisper_er.config import TrainConfig
from whisper_er.data.utterances import Utterances, read_utterances
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import load_tokenizer
from whisper_er.train.trainer import Sums, Trainer


def updates(
    corpus, tmp_path, batch_size: int, accum_grad: int, *overrides: str, token_list: str = "token_list"
) -> tuple[list[torch.Tensor], list[float]]:
    """Every weight after each of two steps of plain gradient descent (16 utterances, then 6), and the two losses."""
    no_dropout = ["model.whisper_sizes.dropout=0", f"batch_size={batch_size}", f"accum_grad={accum_grad}"]
    config = load(TrainConfig, corpus / "train.yaml", [*no_dropout, *overrides])
    tokenizer = load_tokenizer(corpus / token_list)
    once = read_utterances(corpus / "train", tokenizer, "error")
    utterances = Utterances(
        PackedStrings([*once.utt_ids, *(f"{utt_id}-again" for utt_id in once.utt_ids)]),
        PackedStrings([*once.audio] * 2),
        np.tile(once.num_samples_N, 2),
        {task: PackedStrings([*column] * 2) for task, column in once.values.items()},
    )
    torch.manual_seed(1)
    trainer = Trainer(build_model(config, tokenizer), tokenizer, config, tmp_path, torch.device("cpu"))
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.5, fused=True)  # Adam would hide a factor
    steps = trainer.steps(utterances)
    weights, losses, sizes = [], [], []
    for _ in range(2):
        micro_batches, size = next(steps)
        sizes.append([len(batch) for batch in micro_batches])
        sums = Sums(0)
        trainer.step(micro_batches, size, sums)
        losses.append(sums.means([task.name for task in tokenizer.tasks])["loss"])
        weights.append(torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]))
    full, rest = [batch_size] * accum_grad, [batch_size] * (6 // batch_size) + [6 % batch_size] * (6 % batch_size > 0)
    assert sorted(sizes, key=sum) == [rest, full]
    return weights, losses


@pytest.mark.parametrize("rule", ["normalize_loss=true", "normalize_loss=false", "optim.grad_clip=0.1"])
def test_four_times_four_is_sixteen_also_in_the_uneven_last_step(corpus, tmp_path, rule):
    whole, whole_losses = updates(corpus, tmp_path, 16, 1, rule)
    parts, part_losses = updates(corpus, tmp_path, 4, 4, rule)
    assert part_losses == pytest.approx(whole_losses, rel=1e-5)
    for a, b in zip(whole, parts):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert (whole[1] - whole[0]).abs().max() > 1e-3


def test_other_splits_of_sixteen_agree_too(corpus, tmp_path):
    whole, _ = updates(corpus, tmp_path, 16, 1)
    for batch_size in (2, 8):
        parts, _ = updates(corpus, tmp_path, batch_size, 16 // batch_size)
        torch.testing.assert_close(whole[1], parts[1], rtol=0, atol=1e-5)


def test_the_conventional_method_accumulates_in_the_same_way(corpus, tmp_path):
    whole, parts = (
        updates(corpus, tmp_path, size, 16 // size, "model.kind=encoder_classifier", token_list="label_list")[0]
        for size in (16, 4)
    )
    torch.testing.assert_close(whole[1], parts[1], rtol=0, atol=1e-5)
    assert (whole[1] - whole[0]).abs().max() > 1e-3
