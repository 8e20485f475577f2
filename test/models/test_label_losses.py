"""Votes as targets, losses of scales: against torch, numpy and formulas by hand, in both methods."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_experiment import change, train_and_average, write_corpus
from tiny_whisper import ASR, EMOTION, GENDER, SIZES, batch_of, logits_of, write_utterances

from whisper_er.base.errors import UserError
from whisper_er.batch import IGNORE
from whisper_er.config import LossConfig, ModelConfig, TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.batches import load
from whisper_er.data.utterances import read_utterances
from whisper_er.data.votes import parse_votes
from whisper_er.models.build import build_model
from whisper_er.models.losses import LabelLoss, ccc, ordinal
from whisper_er.score.metrics import score_scale
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer

VALENCE = Task("valence", "scale", ("1", "2", "3", "4", "5"))
CENTRE_C = torch.arange(1.0, 6.0)
VALUES = [
    {"asr": "good day", "valence": "2.2", "gender": "male", "emotion": "sad"},
    {"asr": "", "valence": "", "gender": "", "emotion": ""},  # no majority
    {"asr": "really good .", "valence": "5", "gender": "female", "emotion": "happy"},  # nobody voted
    {"asr": "good day", "valence": "3", "gender": "female", "emotion": ""},
]
VOTES = ["happy:1 sad:2", "angry:1 sad:1", "", ""]
SHARES = [[0, 1 / 3, 2 / 3], [0.5, 0, 0.5], [0, 1, 0], [0, 0, 0]]  # angry, happy, sad


def model_and_batch(bpe_tokens, tmp_path, kind: str, votes=True, **options):
    tasks = [ASR, VALENCE, GENDER, EMOTION] if kind == "seq2seq" else [VALENCE, GENDER, EMOTION]
    tokenizer = Tokenizer(bpe_tokens, tasks, "bpe", "en")
    config = TrainConfig(
        model=ModelConfig(kind=kind, whisper_sizes=SIZES, new_token_init="random"), loss=LossConfig(**options)
    )
    torch.manual_seed(0)
    utterances = write_utterances(tmp_path, [0.3, 1.0, 0.61, 0.4], VALUES)
    if votes:
        utterances = [replace(utt, votes={"emotion": own}) for utt, own in zip(utterances, VOTES)]
    return build_model(config, tokenizer).eval(), batch_of(utterances, tokenizer)


def label_logits(model, batch, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Log probabilities (B, C) of a task's labels, where its label is learned, and whether it is (B,)."""
    k = model.tokenizer.tasks.index(task)
    if not hasattr(model, "decoder"):
        return model.logits(batch)[k].log_softmax(-1), batch.label_BK[:, k] != IGNORE
    is_label_BL = torch.isin(batch.target_BL, torch.tensor(model.tokenizer.task_ids[k]))
    place_B = is_label_BL.int().argmax(1)
    logp_BV = logits_of(model, batch).log_softmax(-1)[torch.arange(len(batch)), place_B]
    return logp_BV[:, model.tokenizer.task_ids[k]], is_label_BL.any(1)


def changed_by(bpe_tokens, tmp_path, kind: str, task: Task, own_B: torch.Tensor, **options) -> None:
    """The loss is the plain one, with own_B in place of the cross-entropy of the task's label."""
    model, batch = model_and_batch(bpe_tokens, tmp_path, kind, **options)
    plain, _ = model_and_batch(bpe_tokens, tmp_path, kind)
    logp_BC, is_label_B = label_logits(model, batch, task)
    label_B = batch.label_BK[:, model.tokenizer.tasks.index(task)].clamp(min=0)
    nll_B = -logp_BC.gather(1, label_B[:, None])[:, 0]
    # behind the label of the last task, <|endoftext|> is learned as well, and the task's loss is the mean of both
    tokens = 2 if kind == "seq2seq" and task is EMOTION else 1
    expected = plain(batch).loss + ((own_B(logp_BC) - nll_B) * is_label_B).sum() / tokens
    assert model(batch).loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(model(batch).nll_K, plain(batch).nll_K)


@pytest.mark.parametrize("smoothing, weights", [(0.0, "none"), (0.3, "inverse")])
def test_the_cross_entropy_of_votes_is_torch_s(smoothing, weights):
    torch.manual_seed(0)
    logits_NC, soft_NC = torch.randn(20, 3), torch.randn(20, 3).softmax(1)
    config = LossConfig(label_smoothing=smoothing, class_weights=weights, soft_labels=["emotion"])
    loss = LabelLoss(config, [EMOTION], {"emotion": [100, 10, 1]})
    expected = F.cross_entropy(logits_NC, soft_NC, loss.weight_0, label_smoothing=smoothing, reduction="none")
    label_N = torch.zeros(20, dtype=torch.long)
    torch.testing.assert_close(loss(0, logits_NC.log_softmax(1), label_N, soft_NC[:, None]), expected)


def test_what_is_learned_from_votes_is_their_distribution_and_from_one_label_that_label():
    votes_NC, label_N = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([0])
    learned = {}
    for names in (["emotion"], []):
        loss, logits_NC = LabelLoss(LossConfig(soft_labels=names), [EMOTION]), torch.zeros(1, 3, requires_grad=True)
        for _ in range(300):
            (grad_NC,) = torch.autograd.grad(
                loss(0, logits_NC.log_softmax(1), label_N, votes_NC[:, None]).sum(), logits_NC
            )
            logits_NC = (logits_NC - grad_NC).detach().requires_grad_()
        learned[bool(names)] = logits_NC.softmax(1).detach()
    torch.testing.assert_close(learned[True], votes_NC)
    assert learned[False][0, 0] > 0.99


@torch.no_grad()
@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
def test_the_target_is_the_annotators_distribution(bpe_tokens, tmp_path, kind):
    soft_BC = torch.tensor(SHARES)
    model, batch = model_and_batch(bpe_tokens, tmp_path, kind, soft_labels=["emotion"])
    torch.testing.assert_close(batch.soft_BKC[:, -1], soft_BC)
    assert not batch.soft_BKC[:, :-1].any()
    assert batch.label_BK[:, -1].tolist() == [2, 0, 1, IGNORE]  # of a tie, the first label is read
    changed_by(bpe_tokens, tmp_path, kind, EMOTION, lambda logp: -(soft_BC * logp).sum(1), soft_labels=["emotion"])
    silenced = model(batch.silenced()).loss
    assert silenced == 0


@torch.no_grad()
@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
def test_the_ordinal_target_is_that_of_sord(bpe_tokens, tmp_path, kind):
    def sord(logp_BC):
        rows = []
        for bin_ in (1, 0, 4, 2):
            falling = [math.exp(-abs(bin_ - c) / 0.7) for c in range(5)]
            rows.append([one / sum(falling) for one in falling])
        return -(torch.tensor(rows) * logp_BC).sum(1)

    changed_by(bpe_tokens, tmp_path, kind, VALENCE, sord, scale="ordinal", ordinal_width=0.7)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
def test_each_labelled_utterance_gets_the_batch_s_ccc(bpe_tokens, tmp_path, kind):
    def concordance(logp_BC):
        posterior_BC = logp_BC.softmax(1).double().numpy()
        hyp = posterior_BC @ np.arange(1.0, 6.0)
        score = score_scale([2, 5, 3], hyp[[0, 2, 3]])  # the second has no value
        return 1 - score.ccc - torch.tensor(np.log(logp_BC.exp().double().numpy().sum(1)))

    changed_by(bpe_tokens, tmp_path, kind, VALENCE, concordance, scale="ccc")


def test_ccc_teaches_nothing_where_the_labels_do_not_differ_and_pulls_apart_where_they_do():
    logits_NC = torch.zeros(3, 5, requires_grad=True)
    for labels in ([2], [3, 3], [IGNORE, IGNORE]):
        logp_NC = logits_NC[: len(labels)].log_softmax(1)
        loss_N = ccc(logp_NC, torch.tensor(labels), CENTRE_C, LossConfig())
        loss_N.sum().backward()
        assert loss_N.tolist() == pytest.approx([1.0] * len(labels)) and logits_NC.grad.abs().max() < 1e-6
    ccc(logits_NC.log_softmax(1), torch.tensor([0, IGNORE, 4]), CENTRE_C, LossConfig()).sum().backward()
    assert (logits_NC.grad[0].diff() > 0).all() and (logits_NC.grad[2].diff() < 0).all()  # lower bins rise, and higher
    assert logits_NC.grad[1].abs().max() < 1e-6


def test_a_narrow_ordinal_target_is_the_bin_itself():
    torch.manual_seed(0)
    logp_NC, label_N = torch.randn(6, 5).log_softmax(1), torch.tensor([0, 1, 2, 3, 4, 4])
    narrow_N = ordinal(logp_NC, label_N, CENTRE_C, LossConfig(ordinal_width=0.01))
    torch.testing.assert_close(narrow_N, F.nll_loss(logp_NC, label_N, reduction="none"))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["seq2seq", "encoder_classifier"])
def test_without_the_options_no_batch_and_no_task_is_changed(bpe_tokens, tmp_path, kind):
    model, batch = model_and_batch(bpe_tokens, tmp_path, kind, votes=False)
    assert batch.soft_BKC is None and not model.label_loss.changed
    focal, _ = model_and_batch(bpe_tokens, tmp_path, kind, category="focal")
    k = model.tokenizer.tasks.index(VALENCE)
    assert k not in focal.label_loss.changed


def voted(root, **more: str) -> None:
    """utt2emotion_votes of the corpus: the label twice and once another one, for the first utterances."""
    for name in ("train", "valid"):
        labels = kaldi.read_table(root / name / "utt2emotion")
        table = {utt_id: f"{label}:2 other:1" if i < 2 else "" for i, (utt_id, label) in enumerate(labels.items())}
        kaldi.write_table(root / name / "utt2emotion_votes", table)
    change(root / "train", "utt2emotion_votes", **more)


def test_votes_are_read_counted_and_reach_every_batch(tmp_path, capsys):
    root = write_corpus(tmp_path)
    voted(root, train_02="happy:1 sad:1 other:5", train_03="other:3", train_04="sad:1 happy:2")
    change(root / "train", "utt2emotion", train_02="")
    tokenizer = load_tokenizer(root / "token_list")
    utterances = read_utterances(root / "train", tokenizer, "error", soft_labels=["emotion"])
    said = capsys.readouterr().out
    assert "4 of 11 utterances have votes, 1 of them no label" in said
    assert "10 votes for labels that emotion lacks are left out: other 10" in said
    assert "1 utterances have no other votes: unlabelled" in said
    plan = [[0, 1, 2, 3, 4]]
    (here,), (there,) = (
        list(load(utterances, plan, tokenizer, 40, num_workers, torch.device("cpu"))) for num_workers in (0, 1)
    )
    assert torch.equal(here.soft_BKC, there.soft_BKC)
    expected = [[0, 1], [1, 0], [0.5, 0.5], [0, 0], [2 / 3, 1 / 3]]  # happy, sad
    torch.testing.assert_close(here.soft_BKC[:, 2], torch.tensor(expected))
    assert here.label_BK[:, 2].tolist() == [1, 0, 0, IGNORE, 1]


def test_a_model_is_trained_and_validated_on_votes(tmp_path):
    root = write_corpus(tmp_path)
    voted(root)
    train_and_average(root, tmp_path / "exp", "loss.soft_labels=[emotion]", "max_steps=4", "num_workers=1")
    assert (tmp_path / "exp/ave.safetensors").exists()


@pytest.mark.parametrize("bad", ["sad", "sad:0", "sad:x", ":1", "sad:" + "9" * 5000, "sad:2 sad:1"])
def test_bad_votes_are_one_line(bad):
    with pytest.raises(UserError, match=f"utt2emotion_votes: u1: bad votes at '{bad.split()[-1][:50]}'; allowed are"):
        parse_votes(bad, "utt2emotion_votes: u1")


def test_soft_labels_of_what_has_none_are_one_line(tmp_path):
    root = write_corpus(tmp_path)
    tokenizer = load_tokenizer(root / "token_list")
    with pytest.raises(UserError, match="'asr' is no category among the tasks; allowed: gender emotion"):
        read_utterances(root / "train", tokenizer, "error", soft_labels=["asr"])
    with pytest.raises(UserError, match="utt2emotion_votes: no such file; loss.soft_labels needs it"):
        read_utterances(root / "train", tokenizer, "error", soft_labels=["emotion"])
