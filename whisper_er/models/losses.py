"""The losses of both methods: tokens of a serialised target, labels of a classifier.

A category loss is a function of the log probabilities of a task's labels; to add one: the function and a line of
CATEGORY_LOSSES, and its name is a value of `loss.category`. Losses of scales and class weights likewise.
Axes: B utterances, L target tokens, N learned positions or utterances, K tasks, V vocabulary, C labels of a task.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F

from whisper_er.base.errors import UserError
from whisper_er.batch import IGNORE
from whisper_er.config import LossConfig
from whisper_er.task import Task

# log probabilities of the bins (N, C), labels (N,), centres of the bins (C,) -> loss (N,)
ScaleLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, LossConfig], torch.Tensor]
LabelCounts = Mapping[str, Sequence[int]]  # category task -> how often each of its labels occurs in training


def cross_entropy(logp_NC: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(N, C), nats: the loss if each label were the target."""
    return -logp_NC


def focal(logp_NC: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(N, C), nats: cross-entropy times (1 - p) ** gamma: easy examples count little (Lin et al., 2017, eq. 4)."""
    far_NC = (1 - logp_NC.exp()).clamp(min=1e-7)  # at 0 a gamma below 1 has no gradient
    return far_NC**config.focal_gamma * -logp_NC


def ccc(logp_NC: torch.Tensor, label_N: torch.Tensor, centre_C: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(N,): 1 - CCC (Lin, 1989) of the expectation over the bins and the centre of the label's bin, over all labels of
    the batch that this process sees at once, and in nats how unlikely it is that any bin is said.

    Each utterance gets the batch's 1 - CCC, so that a mean over utterances is one over batches. The second term is 0
    for a classifier; without it a decoder would not learn to end a text and go on with the scale. Where all labels are
    equal, or there is one, 1 - CCC is 1 and has no gradient.
    """
    known_N = (label_N != IGNORE).float()
    num = known_N.sum().clamp(min=1)
    hyp_N, ref_N = (logp_NC.softmax(1) * centre_C).sum(1), centre_C[label_N.clamp(min=0)]
    ref_mean, hyp_mean = ((value_N * known_N).sum() / num for value_N in (ref_N, hyp_N))
    ref_N, hyp_N = (ref_N - ref_mean) * known_N, (hyp_N - hyp_mean) * known_N
    spread = (ref_N.square().sum() + hyp_N.square().sum()) / num + (ref_mean - hyp_mean) ** 2
    concordance = 2 * (ref_N * hyp_N).sum() / num / (spread + 1e-8)
    return 1 - concordance - logp_NC.logsumexp(1)


def ordinal(logp_NC: torch.Tensor, label_N: torch.Tensor, centre_C: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(N,), nats: cross-entropy with a target that falls by exp(-1 / ordinal_width) from bin to bin (SORD, Diaz and
    Marathe, 2019, with the absolute distance in bins)."""
    bin_C = torch.arange(len(centre_C), device=label_N.device)
    target_NC = (-(bin_C - label_N[:, None]).abs() / config.ordinal_width).softmax(1)
    return -(target_NC * logp_NC).sum(1)


def inverse(count_C: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(C,): inverse to the label's share of the training labels; its mean over these is 1."""
    return count_C.sum() / (len(count_C) * count_C)


def effective(count_C: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """(C,), with sum C: inverse to the effective number of samples, (1 - beta ** n) / (1 - beta) (Cui et al., 2019)."""
    weight_C = (1 - config.effective_beta) / (1 - config.effective_beta**count_C)
    return weight_C * len(count_C) / weight_C.sum()


CATEGORY_LOSSES: dict[str, Callable[[torch.Tensor, LossConfig], torch.Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
}
SCALE_LOSSES: dict[str, ScaleLoss | None] = {
    "cross_entropy": None,  # of the one bin, as everything else
    "ccc": ccc,
    "ordinal": ordinal,
}
CLASS_WEIGHTS: dict[str, Callable[[torch.Tensor, LossConfig], torch.Tensor]] = {
    "none": lambda count_C, config: torch.ones_like(count_C),
    "inverse": inverse,
    "effective": effective,
}


class LabelLoss(torch.nn.Module):
    """The configured loss of categories and scales; without label counts every label weighs 1.

    weight_K: factors on the losses of all tasks, loss.task_weights; None where all weigh 1.
    changed: positions of the tasks that it is for: the others, texts among them, have the cross-entropy of one label,
    which both methods compute without this module.
    """

    def __init__(self, config: LossConfig, tasks: Sequence[Task], label_counts: LabelCounts | None = None) -> None:
        super().__init__()
        self.config, self.tasks, self.changed = config, tuple(tasks), []
        self.register_buffer("weight_K", task_weights(config, tasks), persistent=False)
        plain = (config.category, config.label_smoothing, config.class_weights) == ("cross_entropy", 0.0, "none")
        for k, task in enumerate(tasks):
            if task.kind == "category":
                count_C = torch.tensor((label_counts or {}).get(task.name, [1] * len(task.labels)), dtype=torch.double)
                weight_C = CLASS_WEIGHTS[config.class_weights](count_C.clamp(min=1), config).float()
                self.register_buffer(f"weight_{k}", weight_C, persistent=False)
                if not plain or task.name in config.soft_labels:
                    self.changed.append(k)
            elif task.kind == "scale" and SCALE_LOSSES[config.scale]:
                self.register_buffer(f"centre_{k}", torch.tensor([float(label) for label in task.labels]), False)
                self.changed.append(k)

    def forward(
        self, k: int, logp_NC: torch.Tensor, label_N: torch.Tensor, soft_NKC: torch.Tensor | None = None
    ) -> torch.Tensor:
        """float32 (N,), nats, of task k; anything where label_N is IGNORE.

        logp_NC: log probabilities of the task's labels; label_N: int64; soft_NKC: as Batch.soft_BKC.
        """
        task, logp_NC = self.tasks[k], logp_NC.float()
        if task.kind == "scale":
            return SCALE_LOSSES[self.config.scale](logp_NC, label_N, getattr(self, f"centre_{k}"), self.config)
        # the sum over the labels of target x weight x loss, as in torch's cross_entropy
        loss_NC = CATEGORY_LOSSES[self.config.category](logp_NC, self.config) * getattr(self, f"weight_{k}")
        if soft_NKC is not None and task.name in self.config.soft_labels:
            target_loss_N = (soft_NKC[:, k, : len(task.labels)] * loss_NC).sum(1)
        else:
            target_loss_N = loss_NC.gather(1, label_N.clamp(min=0)[:, None])[:, 0]
        smoothing = self.config.label_smoothing
        return (1 - smoothing) * target_loss_N + smoothing * loss_NC.mean(1)


def task_weights(config: LossConfig, tasks: Sequence[Task]) -> torch.Tensor | None:
    """float32 (K,), loss.task_weights in the order of the tasks; None where all weigh 1."""
    names = [task.name for task in tasks]
    for name in config.task_weights:
        if name not in names:
            raise UserError(f"loss.task_weights: '{name}' is not a task; allowed: {' '.join(names)}")
    weights = [config.task_weights.get(name, 1.0) for name in names]
    return None if set(weights) == {1.0} else torch.tensor(weights)


def classifier_loss(
    logits: Sequence[torch.Tensor],
    label_BK: torch.Tensor,
    label_loss: LabelLoss,
    soft_BKC: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and negative log-likelihood of each task (paper, eq. 3), both (K,), nats, summed over labelled utterances.

    logits: (B, C) of each task; label_BK: int64, IGNORE where there is no label; soft_BKC: as in Batch.
    """
    nll_K = torch.stack(
        [
            F.cross_entropy(logits_BC, label_B, ignore_index=IGNORE, reduction="sum")
            for logits_BC, label_B in zip(logits, label_BK.T)
        ]
    )
    losses = list(nll_K)
    for k in label_loss.changed:
        label_B = label_BK[:, k]
        loss_B = label_loss(k, logits[k].log_softmax(-1), label_B, soft_BKC)
        losses[k] = torch.where(label_B != IGNORE, loss_B, 0.0).sum()
    loss_K = torch.stack(losses) if label_loss.changed else nll_K
    return loss_K if label_loss.weight_K is None else loss_K * label_loss.weight_K, nll_K


def serial_mtl_loss(
    logits_NV: torch.Tensor,
    target_BL: torch.Tensor,
    task_BL: torch.Tensor,
    learned_N: torch.Tensor,
    num_tasks: int,
    normalize: bool = True,
    change: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    weight_K: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropy of a target that serialises K tasks (paper, eq. 6; eq. 5 with normalize=False).

    Args: logits_NV, of the N positions that are learned: the others need no product with the vocabulary; target_BL
        int64, IGNORE at prefix and padding; task_BL int64 in [0, K); learned_N: where the learned positions are in the
        flattened target (to find them here would make a GPU wait); change(logits_NV, learned_N, nll_N) -> loss_N, what
        is minimised instead of the nll_N; weight_K: factors on the losses of the tasks.
    Returns: loss_B (nats, one per utterance: the caller divides by the utterances of the effective batch),
        nll_BK (nats, detached, without `change`), count_BK (tokens). A task without tokens in an utterance adds 0.
    """
    target_N = target_BL.flatten()[learned_N].clamp(min=0)  # IGNORE among them is of no task: it adds 0
    nll_N = F.cross_entropy(logits_NV.float(), target_N, reduction="none")
    tasks_K = torch.arange(num_tasks, device=task_BL.device)
    task_BLK = (task_BL[..., None] == tasks_K) & (target_BL != IGNORE)[..., None]
    nll_BK, count_BK = sum_by_task(nll_N, task_BLK, learned_N), task_BLK.sum(1)
    loss_BK = nll_BK if change is None else sum_by_task(change(logits_NV, learned_N, nll_N), task_BLK, learned_N)
    loss_BK = loss_BK / count_BK.clamp(min=1) if normalize else loss_BK
    loss_B = (loss_BK if weight_K is None else loss_BK * weight_K).sum(1)
    return loss_B, nll_BK.detach(), count_BK


def sum_by_task(value_N: torch.Tensor, task_BLK: torch.Tensor, learned_N: torch.Tensor) -> torch.Tensor:
    """(B, K): the values of each utterance's learned positions, added up over those of each task."""
    num, length, _ = task_BLK.shape
    value_BL = value_N.new_zeros(num * length).index_copy(0, learned_N, value_N).view(num, length)
    with torch.autocast(value_N.device.type, enabled=False):  # which would round the loss to bfloat16
        return torch.einsum("bl,blk->bk", value_BL, task_BLK.float())


def with_label_losses(
    logits_NV: torch.Tensor,
    target_N: torch.Tensor,
    task_N: torch.Tensor,
    nll_N: torch.Tensor,
    label_loss: LabelLoss,
    label_ids: Sequence[Sequence[int]],
    soft_NKC: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N,), nats: nll_N, but the configured loss where the target is a label. label_ids: token ids of each task.

    Probabilities are those over the whole vocabulary; smoothing divides its share among the task's own labels. Nothing
    is read from the device: every task's loss is computed at all positions.
    """
    # log sum exp over the vocabulary, which the cross-entropy has computed
    normalizer_N, loss_N = nll_N + logits_NV.gather(1, target_N.clamp(min=0)[:, None])[:, 0].float(), nll_N
    for k in label_loss.changed:
        ids = label_ids[k]
        label_N = target_N - ids[0]
        # <|endoftext|> belongs to the last task as well, and is no label.
        is_label_N = (task_N == k) & (label_N >= 0) & (label_N < len(ids))
        logp_NC = logits_NV[:, ids[0] : ids[-1] + 1].float() - normalizer_N[:, None]
        label_loss_N = label_loss(k, logp_NC, label_N.where(is_label_N, IGNORE), soft_NKC)
        loss_N = torch.where(is_label_N, label_loss_N, loss_N)
    return loss_N
