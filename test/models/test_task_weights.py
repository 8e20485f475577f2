"""loss.task_weights: factors on the losses of the tasks, in both methods."""

import math

import pytest
import torch
from tiny_whisper import ASR, EMOTION, GENDER, SIZES, batch_of, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.batch import IGNORE
from whisper_er.config import LossConfig, ModelConfig, TrainConfig
from whisper_er.models.build import build_model
from whisper_er.models.losses import LabelLoss, classifier_loss, serial_mtl_loss, task_weights
from whisper_er.text.tokenizer import Tokenizer

LN2 = math.log(2)
VALUES = [
    {"asr": "good day", "gender": "male", "emotion": "sad"},
    {"asr": "", "gender": "", "emotion": "happy"},
    {"asr": "really good .", "gender": "female", "emotion": ""},
]


def built(bpe_tokens, kind: str, **loss):
    tasks = [ASR, GENDER, EMOTION] if kind == "seq2seq" else [GENDER, EMOTION]
    model = ModelConfig(kind=kind, whisper_sizes=SIZES, new_token_init="random")
    torch.manual_seed(0)
    config = TrainConfig(model=model, loss=LossConfig(**loss))
    return build_model(config, Tokenizer(bpe_tokens, tasks, "bpe", "en")).eval()


@pytest.mark.parametrize("normalize,expected", [(True, 0.5 * 5 / 3 + 2 * 1 + 3 / 2), (False, 0.5 * 5 + 2 * 1 + 3)])
def test_each_task_s_loss_is_multiplied_after_it_is_divided_by_its_length(normalize, expected):
    target_BL, task_BL = torch.tensor([[IGNORE, 0, 1, 2, 0, 1, 0]]), torch.tensor([[0, 0, 0, 0, 1, 2, 2]])
    learned_N = torch.arange(1, 7)
    logits_NV = torch.tensor([0.5, 0.25, 0.25]).log().expand(6, 3)  # -ln p = 1, 2, 2 in units of ln 2
    weight_K = task_weights(LossConfig(task_weights={"asr": 0.5, "gender": 2}), [ASR, GENDER, EMOTION])
    loss_B, nll_BK, _ = serial_mtl_loss(logits_NV, target_BL, task_BL, learned_N, 3, normalize, weight_K=weight_K)
    assert (loss_B / LN2).tolist() == pytest.approx([expected])
    assert (nll_BK / LN2)[0].tolist() == pytest.approx([5, 1, 3])


def test_the_conventional_method_weighs_its_tasks_as_well():
    logits = [torch.zeros(2, 2), torch.zeros(2, 3)]
    loss_K, nll_K = classifier_loss(
        logits,
        torch.tensor([[0, 2], [1, IGNORE]]),
        LabelLoss(LossConfig(task_weights={"emotion": 3}), [GENDER, EMOTION]),
    )
    assert nll_K.tolist() == pytest.approx([2 * LN2, math.log(3)])
    assert loss_K.tolist() == pytest.approx([2 * LN2, 3 * math.log(3)])


@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
def test_weights_of_one_are_bit_equal_and_one_of_zero_leaves_its_labels_out(bpe_tokens, tmp_path, kind):
    plain, ones = built(bpe_tokens, kind), built(bpe_tokens, kind, task_weights={"gender": 1, "emotion": 1})
    without = built(bpe_tokens, kind, task_weights={"gender": 0})
    batch = batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), plain.tokenizer)
    losses = [model(batch).loss for model in (plain, ones, without)]
    assert torch.equal(losses[0], losses[1]) and losses[2] < losses[0]
    if kind == "encoder_classifier":  # the other method reads the label, and learns the rest after it
        batch.label_BK[0, 0] = 1 - batch.label_BK[0, 0]
        assert torch.equal(without(batch).loss, losses[2]) and not torch.equal(plain(batch).loss, losses[0])
    assert without.state_dict().keys() == plain.state_dict().keys()


def test_an_unknown_task_and_a_negative_weight_are_named(bpe_tokens):
    with pytest.raises(UserError, match="'emotoin' is not a task; allowed: gender emotion"):
        built(bpe_tokens, "encoder_classifier", task_weights={"emotoin": 2})
    with pytest.raises(UserError, match="task_weights.asr: -1"):
        LossConfig(task_weights={"asr": -1})
