"""When each token was spoken: the decoder reads the text once more, and dynamic time warping (DTW) finds the path of
its cross-attention through the audio, as OpenAI's Whisper does for its word timestamps.

Axes: B utterances, L decoder positions, T encoder frames (20 ms), H alignment heads, C channels of a head, N rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from whisper_er.batch import Batch
from whisper_er.config import SAMPLE_RATE
from whisper_er.models.decoder import cross_attention_inputs, decode, split_heads
from whisper_er.models.encoder import real_frames
from whisper_er.models.features import HOP
from whisper_er.models.seq2seq import WhisperER
from whisper_er.timing.heads import alignment_heads

FRAME = 2 * HOP / SAMPLE_RATE  # seconds
SMOOTHED = 7  # frames of the median filter, as in Whisper


def attention_scores(model: WhisperER, batch: Batch, targets: Sequence[list[int]], language: str) -> list[np.ndarray]:
    """float32 (N, T) of each utterance: how much the decoder listens to each frame where it predicts each token.

    attention_weights, standardised over the positions, smoothed over time, and averaged over the heads.
    """
    found = []
    for weights_HNT in attention_weights(model, batch, targets, language):
        deviation, mean = torch.std_mean(weights_HNT, dim=1, keepdim=True, correction=0)
        found.append(median((weights_HNT - mean) / deviation.clamp(min=1e-12)).mean(0).cpu().numpy())
    return found


@torch.no_grad()
def attention_weights(
    model: WhisperER, batch: Batch, targets: Sequence[list[int]], language: str
) -> list[torch.Tensor]:
    """float32 (H, N, T) of each utterance: cross-attention of the alignment heads at each position.

    targets: token ids behind the prefix; N: positions of prefix and target. T: the frames that hold the utterance's
    audio, over which the weights sum to 1, whatever the pad rule. language: as DecodeConfig.lang.
    """
    cross = cross_attention_inputs(model.decoder, *model.encode(batch))
    prefix_BL = model.prefix(batch, cross, language)
    rows = [torch.tensor(target, dtype=torch.long, device=prefix_BL.device) for target in targets]
    target_BL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.tokenizer.end)
    heads = alignment_heads(model.backbone_config, model.tokenizer.text.multilingual)
    with seen_queries(model, list(heads)) as queries:
        decode(model.decoder, torch.cat([prefix_BL, target_BL], dim=1), cross)
    found = []
    for b, frames in enumerate(real_frames(batch.samples_B).tolist()):
        length, logits = prefix_BL.shape[1] + len(targets[b]), []
        for layer, own in heads.items():
            query_HNC, key_HTC = queries[layer][b, own, :length], cross.layers[layer][0][b, own, :frames]
            with torch.autocast(query_HNC.device.type, enabled=False):  # which would round the product to bfloat16
                logits.append(query_HNC.float() @ key_HTC.float().transpose(1, 2) / query_HNC.shape[2] ** 0.5)
        found.append(torch.cat(logits).softmax(-1))
    return found


@contextmanager
def seen_queries(model: WhisperER, layers: Sequence[int]) -> Iterator[dict[int, torch.Tensor]]:
    """While it is open, the queries (B, H, L, C) of cross-attention of these layers are put into the dict."""
    queries: dict[int, torch.Tensor] = {}
    hooks = []
    for layer in layers:
        attention = model.decoder.layers[layer].encoder_attn

        def keep(_: torch.nn.Module, __: object, query_BLD: torch.Tensor, layer=layer, attention=attention) -> None:
            queries[layer] = split_heads(attention, query_BLD)

        hooks.append(attention.q_proj.register_forward_hook(keep))
    try:
        yield queries
    finally:
        for hook in hooks:
            hook.remove()


def median(values: torch.Tensor) -> torch.Tensor:
    """(..., T), each frame the median of the SMOOTHED frames around it; the edge frames are repeated."""
    half = SMOOTHED // 2
    padded = F.pad(values, (half, half), mode="replicate")
    return padded.unfold(-1, SMOOTHED, 1).median(-1).values


def first_frames(score_NT: np.ndarray) -> np.ndarray:
    """int (N,): the frame in which each row begins on the path of the highest score (see dtw)."""
    rows, frames = dtw(-score_NT)
    return frames[np.searchsorted(rows, np.arange(len(score_NT)))]


def dtw(cost_NT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cheapest path from the first cell to the last, by steps of one row, column, or both.

    Computed along the anti-diagonals, each at once: a cell needs the two before it.
    """
    num_rows, num_columns = cost_NT.shape
    total = np.full((num_rows + 1, num_columns + 1), np.inf)
    total[0, 0] = 0
    for diagonal in range(num_rows + num_columns - 1):
        row = np.arange(max(0, diagonal - num_columns + 1), min(diagonal, num_rows - 1) + 1)
        column = diagonal - row
        before = np.minimum(total[row, column], np.minimum(total[row, column + 1], total[row + 1, column]))
        total[row + 1, column + 1] = cost_NT[row, column] + before
    path, (row, column) = [], (num_rows, num_columns)
    while row and column:
        path.append((row - 1, column - 1))
        steps = ((row - 1, column - 1), (row - 1, column), (row, column - 1))
        row, column = min(steps, key=total.__getitem__)
    rows, columns = np.array(path[::-1]).T
    return rows, columns
