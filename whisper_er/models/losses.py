import torch
import torch.nn.functional as F

from whisper_er.batch import IGNORE


def serial_mtl_loss(
    logits_NV: torch.Tensor,
    target_BL: torch.Tensor,
    task_BL: torch.Tensor,
    learned_N: torch.Tensor,
    num_tasks: int,
    normalize: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropy of a target that serialises K tasks (paper, eq. 6; eq. 5 with normalize=False).

    Args: logits_NV, of the N positions that are learned: the others need no product with the vocabulary; target_BL
        int64, IGNORE at prefix and padding; task_BL int64 in [0, K); learned_N: where the learned positions are in the
        flattened target (to find them here would make a GPU wait).
    Returns: loss_B (nats, one per utterance: the caller divides by the utterances of the effective batch),
        nll_BK (nats, detached), count_BK (tokens). A task without tokens in an utterance adds 0 to it.
    """
    nll_N = F.cross_entropy(logits_NV.float(), target_BL.flatten()[learned_N], reduction="none")
    nll_BL = nll_N.new_zeros(target_BL.numel()).index_copy(0, learned_N, nll_N).view_as(target_BL)
    task_BLK = F.one_hot(task_BL, num_tasks) * (target_BL != IGNORE)[..., None]
    nll_BK, count_BK = torch.einsum("bl,blk->bk", nll_BL, task_BLK.float()), task_BLK.sum(1)
    loss_B = (nll_BK / count_BK.clamp(min=1)).sum(1) if normalize else nll_BK.sum(1)
    return loss_B, nll_BK.detach(), count_BK
