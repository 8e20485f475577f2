"""Focal loss, label smoothing, class weights, against torch, scikit-learn and loops; and one that is added by name."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from tiny_whisper import ASR, EMOTION, GENDER, SIZES, batch_of, logits_of, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.base.settings import build
from whisper_er.batch import IGNORE
from whisper_er.config import LossConfig, ModelConfig, TrainConfig
from whisper_er.models.build import build_model
from whisper_er.models.losses import CATEGORY_LOSSES, LabelLoss, effective, inverse, serial_mtl_loss
from whisper_er.text.tokenizer import Tokenizer

COUNTS = {"gender": [4, 12], "emotion": [100, 10, 1]}
VALUES = [
    {"asr": "good day", "gender": "male", "emotion": "sad"},
    {"asr": "", "gender": "", "emotion": "happy"},
    {"asr": "really good .", "gender": "female", "emotion": ""},
]


def model_and_batch(bpe_tokens, tmp_path, kind: str, **options):
    tasks = [ASR, GENDER, EMOTION] if kind == "seq2seq" else [GENDER, EMOTION]
    tokenizer = Tokenizer(bpe_tokens, tasks, "bpe", "en")
    config = TrainConfig(
        model=ModelConfig(kind=kind, whisper_sizes=SIZES, new_token_init="random"), loss=LossConfig(**options)
    )
    torch.manual_seed(0)
    model = build_model(config, tokenizer, COUNTS).eval()
    return model, batch_of(write_utterances(tmp_path, [0.3, 1.0, 0.61], VALUES), tokenizer)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", ["none", "inverse", "effective"])
def test_cross_entropy_smoothed_and_weighted_is_torch_s(smoothing, weights):
    torch.manual_seed(0)
    logits_NC, label_N = torch.randn(20, 3), torch.randint(3, (20,))
    loss = LabelLoss(LossConfig(label_smoothing=smoothing, class_weights=weights), [EMOTION], COUNTS)
    expected = F.cross_entropy(logits_NC, label_N, loss.weight_0, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(loss(0, logits_NC.log_softmax(-1), label_N), expected)
    assert (loss.weight_0 == 1).all() == (weights == "none")


def test_weights_are_those_of_scikit_learn_and_of_the_paper():
    count_C = torch.tensor([100.0, 10.0, 1.0])
    labels = np.repeat([0, 1, 2], [100, 10, 1])
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert inverse(count_C, LossConfig()).tolist() == pytest.approx(balanced.tolist())
    beta = 0.9
    by_hand = [(1 - beta) / (1 - beta**n) for n in (100, 10, 1)]
    by_hand = [3 * weight / sum(by_hand) for weight in by_hand]
    assert effective(count_C, LossConfig(effective_beta=beta)).tolist() == pytest.approx(by_hand)
    assert effective(count_C, LossConfig(effective_beta=0.0)).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_the_cross_entropy_that_counts_little_where_the_model_is_right(gamma):
    logits_NC = torch.tensor([[9.0, 0.0], [0.0, 0.0], [0.0, 90.0]], requires_grad=True)
    loss_N = LabelLoss(LossConfig(category="focal", focal_gamma=gamma), [GENDER])(
        0, logits_NC.log_softmax(-1), torch.tensor([0, 0, 1])
    )
    p = [1 / (1 + math.exp(-9)), 0.5, 1.0]
    expected = [(1 - q) ** gamma * -math.log(q) for q in p]
    assert loss_N.tolist() == pytest.approx(expected, abs=1e-6)
    loss_N.sum().backward()
    assert logits_NC.grad.isfinite().all()


@torch.no_grad()
def test_the_paper_s_loss_is_bit_equal_with_everything_off(bpe_tokens, tmp_path):
    model, batch = model_and_batch(bpe_tokens, tmp_path, "seq2seq")
    logits_NV = logits_of(model, batch).flatten(0, 1)[batch.learned_N]
    nll_N = F.cross_entropy(logits_NV.float(), batch.target_BL.flatten()[batch.learned_N], reduction="none")
    nll_BL = nll_N.new_zeros(batch.target_BL.numel()).index_copy(0, batch.learned_N, nll_N).view_as(batch.target_BL)
    task_BLK = F.one_hot(batch.task_BL, 3) * (batch.target_BL != IGNORE)[..., None]
    nll_BK, count_BK = torch.einsum("bl,blk->bk", nll_BL, task_BLK.float()), task_BLK.sum(1)
    assert torch.equal(model(batch).loss, (nll_BK / count_BK.clamp(min=1)).sum(1).sum())
    assert not model.label_loss.changed and not model.label_loss.state_dict()


@torch.no_grad()
def test_in_a_serialised_target_only_the_labels_change(bpe_tokens, tmp_path):
    options = {"category": "focal", "label_smoothing": 0.2, "class_weights": "inverse"}
    model, batch = model_and_batch(bpe_tokens, tmp_path, "seq2seq", **options)
    logp_BLV, tokenizer = logits_of(model, batch).log_softmax(-1), model.tokenizer
    total = 0.0
    for b in range(len(batch)):
        for k, task in enumerate(tokenizer.tasks):
            terms = []
            for position in range(batch.target_BL.shape[1]):
                target = int(batch.target_BL[b, position])
                if target == IGNORE or int(batch.task_BL[b, position]) != k:
                    continue
                logp_V = logp_BLV[b, position]
                if target not in tokenizer.task_ids[k]:
                    terms.append(-logp_V[target].item())
                    continue
                counts = torch.tensor(COUNTS[task.name], dtype=torch.float)
                each = [(1 - math.exp(logp_V[i])) ** 2 * -logp_V[i].item() for i in tokenizer.task_ids[k]]
                each = [value * weight for value, weight in zip(each, inverse(counts, LossConfig()).tolist())]
                right = each[tokenizer.task_ids[k].index(target)]
                terms.append(0.8 * right + 0.2 * sum(each) / len(each))
            total += sum(terms) / max(1, len(terms))
    output = model(batch)
    assert output.loss.item() == pytest.approx(total, rel=1e-4)
    plain, _ = model_and_batch(bpe_tokens, tmp_path, "seq2seq")
    assert torch.equal(output.nll_K, plain(batch).nll_K)  # what is logged stays the cross-entropy


@torch.no_grad()
def test_the_conventional_method_weighs_and_smooths_its_categories(bpe_tokens, tmp_path):
    model, batch = model_and_batch(bpe_tokens, tmp_path, "encoder_classifier", label_smoothing=0.1,
                                   class_weights="inverse")  # fmt: skip
    expected = 0.0
    for k, (logits_BC, label_B) in enumerate(zip(model.logits(batch), batch.label_BK.T)):
        weight_C = getattr(model.label_loss, f"weight_{k}")
        expected += F.cross_entropy(
            logits_BC, label_B, weight_C, ignore_index=IGNORE, reduction="sum", label_smoothing=0.1
        ).item()
    assert model(batch).loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
def test_one_that_is_registered_is_chosen_by_its_name_and_learned_from(bpe_tokens, tmp_path, kind, monkeypatch):
    with pytest.raises(UserError, match="category: 'brier' is not allowed; allowed: cross_entropy focal"):
        build(LossConfig, {"category": "brier"}, "train.yaml")
    monkeypatch.setitem(CATEGORY_LOSSES, "brier", lambda logp_NC, config: (1 - logp_NC.exp()) ** 2)
    options = build(LossConfig, {"category": "brier"}, "train.yaml")
    model, batch = model_and_batch(bpe_tokens, tmp_path, kind, **vars(options))
    plain, _ = model_and_batch(bpe_tokens, tmp_path, kind)
    loss = model(batch).loss
    assert not torch.equal(loss, plain(batch).loss)
    loss.backward()
    weight = model.decoder.embed_tokens.weight if kind == "seq2seq" else model.heads["head_emotion"].weight
    assert weight.grad.abs().max() > 0


def test_the_change_gets_what_is_learned_and_gives_what_is_minimised():
    logits_NV, target_BL = torch.zeros(2, 4), torch.tensor([[IGNORE, 1, 2]])
    learned_N = torch.tensor([1, 2])
    loss_B, nll_BK, _ = serial_mtl_loss(
        logits_NV, target_BL, torch.zeros_like(target_BL), learned_N, 1, change=lambda logits, where, nll: 10 * nll
    )
    assert loss_B.item() == pytest.approx(10 * math.log(4)) and nll_BK.item() == pytest.approx(2 * math.log(4))


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"category": "focal", "class_weights": "inverse"}])
def test_under_bfloat16_autocast_the_loss_is_summed_in_float32(bpe_tokens, tmp_path, options):
    model, batch = model_and_batch(bpe_tokens, tmp_path, "seq2seq", **options)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch)
    assert output.loss.dtype == output.nll_K.dtype == torch.float32
    exact = model(batch)
    assert output.loss.item() == pytest.approx(exact.loss.item(), rel=0.05)
    assert output.loss.bfloat16() != output.loss  # three digits would not do
