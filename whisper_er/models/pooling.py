"""Poolings of the conventional method: an utterance's encoder states -> one vector (paper, eq. 2).

A pooling is a module that is made with the width D of the states and has the width O of its result. To add one: a
class and a line of POOLINGS; its name is a value of `model.pool`.
Axes: B utterances, T encoder frames, D width, O width of the result.
"""

from collections.abc import Callable, Sequence

import torch

ATTENTION_WIDTH = 128  # of the hidden layer (Okabe et al., 2018)
VARIANCE_FLOOR = 1e-6  # the square root has no gradient at 0


class Pooling(torch.nn.Module):
    """Encoder states -> one vector per utterance. output_width: O."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output_width = width

    def forward(self, states_BTD: torch.Tensor, real_BT: torch.Tensor, read_BT: torch.Tensor) -> torch.Tensor:
        """float32 (B, O).

        real_BT: bool, frames that hold the utterance's audio; read_BT: bool, these and the silence that `pad` appended.
        Frames in neither are the padding of the batch, and must not change the result.
        """
        raise NotImplementedError


class RealFrames(Pooling):
    """Mean over the frames that hold the utterance's audio."""

    def forward(self, states_BTD: torch.Tensor, real_BT: torch.Tensor, read_BT: torch.Tensor) -> torch.Tensor:
        return masked_mean(states_BTD, real_BT)


class AllFrames(Pooling):
    """Mean over all frames that the encoder read, silence included, as transformers' WhisperForAudioClassification."""

    def forward(self, states_BTD: torch.Tensor, real_BT: torch.Tensor, read_BT: torch.Tensor) -> torch.Tensor:
        return masked_mean(states_BTD, read_BT)


class AttentiveStatistics(Pooling):
    """Mean and standard deviation over the real frames, weighted by an attention (Okabe et al., 2018, eq. 1-6)."""

    def __init__(self, width: int) -> None:
        super().__init__(2 * width)
        self.hidden, self.score = (
            torch.nn.Linear(width, ATTENTION_WIDTH),
            torch.nn.Linear(ATTENTION_WIDTH, 1, bias=False),
        )

    def forward(self, states_BTD: torch.Tensor, real_BT: torch.Tensor, read_BT: torch.Tensor) -> torch.Tensor:
        states_BTD = states_BTD.float()
        score_BT1 = self.score(self.hidden(states_BTD).tanh()).float()
        weight_BT1 = score_BT1.masked_fill(~real_BT[..., None], -torch.inf).softmax(1)
        mean_BD = (weight_BT1 * states_BTD).sum(1)
        variance_BD = (weight_BT1 * (states_BTD - mean_BD[:, None]) ** 2).sum(1)
        return torch.cat([mean_BD, variance_BD.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)


class EachLayer(Pooling):
    """States of several layers side by side -> the results of a pooling for each layer, side by side."""

    def __init__(self, poolings: Sequence[Pooling]) -> None:
        super().__init__(sum(pooling.output_width for pooling in poolings))
        self.poolings = torch.nn.ModuleList(poolings)

    def forward(self, states_BTD: torch.Tensor, real_BT: torch.Tensor, read_BT: torch.Tensor) -> torch.Tensor:
        layers = states_BTD.chunk(len(self.poolings), dim=-1)
        return torch.cat([pooling(one, real_BT, read_BT) for pooling, one in zip(self.poolings, layers)], dim=1)


def masked_mean(states_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """float32 (B, D): the mean over the frames where the mask is True."""
    return (states_BTD.float() * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)


POOLINGS: dict[str, Callable[[int], Pooling]] = {
    "real": RealFrames,
    "all": AllFrames,
    "attentive": AttentiveStatistics,
}
