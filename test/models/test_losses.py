"""Equations 5 and 6 of the paper, against numbers worked out by hand and against a loop over utterances."""

import math

import pytest
import torch
from tiny_whisper import ORDERS, batch_of, logits_of, tasks_of, tiny_model, write_utterances

from whisper_er.batch import IGNORE
from whisper_er.models.losses import serial_mtl_loss
from whisper_er.text.tokenizer import Tokenizer

LN2 = math.log(2)
# Probabilities of three tokens, the same at every position: -ln p = 1, 2, 2 in units of ln 2.
LOGITS_V = torch.tensor([0.5, 0.25, 0.25]).log()


def loss_of(target, task, num_tasks, normalize):
    target_BL, task_BL = torch.tensor(target), torch.tensor(task)
    logits_BLV = LOGITS_V.expand(*target_BL.shape, -1) + 7.0  # the softmax does not see a constant
    learned_N = (target_BL.flatten() != IGNORE).nonzero()[:, 0]
    logits_NV = logits_BLV.flatten(0, 1)[learned_N]
    loss_B, nll_BK, count_BK = serial_mtl_loss(logits_NV, target_BL, task_BL, learned_N, num_tasks, normalize)
    return (loss_B / LN2).tolist(), (nll_BK / LN2).tolist(), count_BK.tolist()


def test_single_task_training_sums_over_the_label_and_endoftext():
    loss, nll, count = loss_of([[IGNORE, 1, 0]], [[0, 0, 0]], 1, normalize=False)
    assert loss == pytest.approx([2 + 1])
    assert (nll, count) == ([pytest.approx([3])], [[2]])


@pytest.mark.parametrize("normalize,expected", [(True, [(1 + 2 + 2) / 3 + 1 + (2 + 1) / 2]), (False, [5 + 1 + 3])])
def test_each_task_is_normalised_by_its_own_length_and_then_summed(normalize, expected):
    target = [[IGNORE, 0, 1, 2, 0, 1, 0, IGNORE]]
    task = [[0, 0, 0, 0, 1, 2, 2, 0]]
    loss, nll, count = loss_of(target, task, 3, normalize)
    assert loss == pytest.approx(expected)
    assert nll[0] == pytest.approx([5, 1, 3])
    assert count == [[3, 1, 2]]


def test_a_task_without_tokens_adds_nothing_and_does_not_disturb_its_neighbour_in_the_batch():
    target = [[1, 0, 0, IGNORE], [0, 0, 2, 0], [IGNORE] * 4]
    task = [[1, 1, 1, 0], [0, 0, 1, 1], [0] * 4]
    loss, nll, count = loss_of(target, task, 2, normalize=True)
    assert loss == pytest.approx([4 / 3, 1 + 3 / 2, 0])
    assert [row for row in nll] == [pytest.approx([0, 4]), pytest.approx([2, 3]), [0, 0]]
    assert count == [[0, 3], [2, 2], [0, 0]]


def test_an_utterance_without_any_label_has_a_gradient_of_zero():
    logits = torch.randn(1, 2, 3, requires_grad=True)
    target_BL, none_N = torch.full((1, 2), IGNORE), torch.zeros(0, dtype=torch.long)
    logits_NV = logits.flatten(0, 1)[none_N]
    loss_B, _, _ = serial_mtl_loss(logits_NV, target_BL, torch.zeros(1, 2, dtype=torch.long), none_N, 2)
    loss_B.sum().backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


VALUES = [
    {"asr": "really good .", "gender": "male", "emotion": "happy"},
    {"asr": "", "gender": "female", "emotion": "sad"},
    {"asr": "good day", "gender": "", "emotion": "angry"},
    {"asr": "a really sad day", "gender": "male", "emotion": ""},
    {"asr": "", "gender": "", "emotion": ""},
]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_the_model_returns_the_loss_of_a_loop_over_utterances_tasks_and_tokens(bpe_tokens, tmp_path, order, normalize):
    tokenizer = Tokenizer(bpe_tokens, tasks_of(order), "bpe", "en")
    model = tiny_model(tokenizer)
    model.normalize_loss = normalize
    utterances = write_utterances(tmp_path, [0.4, 0.5, 0.3, 0.6, 0.2], VALUES)
    total, nll_K, count_K = 0.0, [0.0] * 3, [0] * 3
    for utterance in utterances:
        logp_LV = logits_of(model, batch_of([utterance], tokenizer))[0].log_softmax(-1)
        position = len(tokenizer.prefix) - 1  # where the prefix has been read
        for k, task in enumerate(tokenizer.tasks):
            value = utterance.values[task.name]
            ids = tokenizer.text.encode(value) if task.name == "asr" else []
            if value and task.name != "asr":
                ids = [tokenizer.task_ids[k][task.labels.index(value)]]
            if not value and task.name != "asr":
                position += 1  # its place is read, not learned
            if ids and k == 2:
                ids.append(tokenizer.end)
            nll = [-float(logp_LV[position + i, index]) for i, index in enumerate(ids)]
            position += len(ids)
            total += sum(nll) / (max(len(nll), 1) if normalize else 1)
            nll_K[k] += sum(nll)
            count_K[k] += len(nll)
    output = model(batch_of(utterances, tokenizer))
    assert output.loss.item() == pytest.approx(total, rel=1e-5)
    assert output.nll_K.tolist() == pytest.approx(nll_K, rel=1e-5)
    assert output.count_K.tolist() == count_K


def test_single_task_recognition_learns_to_end_where_nobody_speaks(bpe_tokens, tmp_path):
    tokenizer = Tokenizer(bpe_tokens, tasks_of("asr"), "bpe", "en")
    model = tiny_model(tokenizer)
    batch = batch_of(write_utterances(tmp_path, [0.3], [{"asr": ""}]), tokenizer)
    output = model(batch)
    expected = -logits_of(model, batch)[0, len(tokenizer.prefix) - 1].log_softmax(-1)[tokenizer.end]
    assert output.loss.item() == pytest.approx(float(expected), rel=1e-5) and output.count_K.tolist() == [1]


def test_the_prefix_is_read_but_not_learned(whisper_tokens, tmp_path):
    tokenizer = Tokenizer(whisper_tokens, tasks_of("emotion"), "whisper", "en")
    batch = batch_of(write_utterances(tmp_path, [0.3], [{"emotion": "sad"}]), tokenizer)
    sad = tokenizer.task_ids[0][2]
    assert batch.input_BL.tolist() == [[*tokenizer.prefix, sad]]
    assert batch.target_BL.tolist() == [[IGNORE, IGNORE, IGNORE, sad, tokenizer.end]]
    assert tiny_model(tokenizer)(batch).count_K.tolist() == [2]
