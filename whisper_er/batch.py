"""Batch: the one thing that data and models share."""

import dataclasses
from dataclasses import dataclass

import torch

IGNORE = -100  # a position or a label that is not learned


@dataclass
class Batch:
    """Utterances side by side. Axes: B utterances, S samples, L target tokens, K tasks.

    utt_ids:    B ids.
    wave_BS:    float32, 16 kHz mono in [-1, 1], zeros after the end.
    samples_B:  int64, true lengths in samples.
    input_BL:   int64, what the decoder reads: prefix and target, shifted; any token at padding.
    target_BL:  int64, what it is to say next; IGNORE at prefix and padding.
    task_BL:    int64 in [0, K): the task that each target token belongs to; 0 where ignored.
    label_BK:   int64, index into the task's labels; IGNORE for text and where there is no label.
    """

    utt_ids: list[str]
    wave_BS: torch.Tensor
    samples_B: torch.Tensor
    input_BL: torch.Tensor
    target_BL: torch.Tensor
    task_BL: torch.Tensor
    label_BK: torch.Tensor

    def __len__(self) -> int:
        return len(self.utt_ids)

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device."""
        moved = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return dataclasses.replace(self, **moved)
