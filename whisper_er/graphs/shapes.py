"""A small set of shapes for the batches of training, since a CUDA graph has one: each size is the next on a geometric
scale. What is filled up is masked, so losses, gradients and predictions stay those of the batch.

On utterances as long as IEMOCAP's (tools/benchmark/workload.py), in batches of 16, this adds 7 % to the frames of the
encoder and the tokens of the decoder together. Eight epochs meet 56 shapes; 108 where the rate of speech varies by a
third.
"""

import math

import torch.nn.functional as F

from whisper_er.batch import IGNORE, Batch

# Unit and ratio. Eight encoder frames of 20 ms; finer for samples than for tokens, of which there is one to ten frames.
SAMPLES = (8 * 320, 1.15)
TOKENS = (8, 1.3)
LEARNED = 4  # of all positions of a target one, two, three or four quarters are multiplied with the vocabulary


def next_size(size: int, unit: int, ratio: float) -> int:
    """The least size of the scale that is not below this one: multiples of the unit, each at most ratio times the one
    before it, or one unit more."""
    value = unit
    while value < size:
        value = max(value + unit, int(value * ratio / unit) * unit)
    return value


def rounded(batch: Batch, samples: int, max_target: int) -> Batch:
    """The batch, on the device that it is on, in a shape that others share; nothing is read from the device.

    samples: to which the audio is filled up; max_target: most tokens of the model.
    """
    length = batch.target_BL.shape[1]
    more = (0, min(next_size(length, *TOKENS), max_target) - length)
    target_BL = F.pad(batch.target_BL, more, value=IGNORE)
    # The learned positions in their order, then others: their target is IGNORE, and they count for no task.
    num_quarters = math.ceil(LEARNED * len(batch.learned_N) / target_BL.numel())
    order = (target_BL.flatten() == IGNORE).byte().argsort(stable=True)
    return batch.having(
        wave_BS=F.pad(batch.wave_BS, (0, samples - batch.wave_BS.shape[1])),
        input_BL=F.pad(batch.input_BL, more),
        target_BL=target_BL,
        task_BL=F.pad(batch.task_BL, more),
        learned_N=order[: math.ceil(num_quarters * target_BL.numel() / LEARNED)],
    )
