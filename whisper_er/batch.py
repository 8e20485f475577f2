"""Batch: the one thing that data and models share."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

IGNORE = -100  # a position or a label that is not learned


@dataclass
class Batch:
    """Utterances side by side. Axes: B utterances, S samples, L target tokens, K tasks, N learned positions,
    C labels, of the soft task that has the most.

    utt_ids:    B ids.
    wave_BS:    16 kHz mono, zeros after the end: int16 where the audio of all utterances is 16-bit, else float32 in
                [-1, 1], which int16 / 32768 is; models make it float (models/features.py).
    samples_B:  int64, true lengths in samples; on the CPU: masks depend on it, and reading it from a GPU would wait for
                the GPU. In a graph (graphs/passes.py) on the device, where it is not read.
    input_BL:   int64, what the decoder reads: context, prefix and target, shifted; any token at padding.
    target_BL:  int64, the token to predict next; IGNORE at context, prefix and padding.
    task_BL:    int64 in [0, K): the task that each target token belongs to; 0 where ignored.
    label_BK:   int64, index into the task's labels; IGNORE for text and where there is no label.
    soft_BKC:   float32, target probability of each label of the tasks of loss.soft_labels, None without any; zeros for
                other tasks, behind a task's labels, and where there is no label.
    context_B:  int64, tokens of what was said before, which open input_BL; None where no utterance has any. On the CPU,
                as samples_B is.
    learned_N:  int64, positions in the flattened target_BL that are not IGNORE, in order; follows from it. In a batch
                of rounded shape (graphs/shapes.py) others follow them.
    """

    utt_ids: list[str]
    wave_BS: torch.Tensor
    samples_B: torch.Tensor
    input_BL: torch.Tensor
    target_BL: torch.Tensor
    task_BL: torch.Tensor
    label_BK: torch.Tensor
    soft_BKC: torch.Tensor | None = None
    context_B: torch.Tensor | None = None
    learned_N: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.learned_N = (self.target_BL.flatten() != IGNORE).nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.utt_ids)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Field name -> tensor."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}

    def silenced(self) -> "Batch":
        """A copy without targets: its loss and its gradient are 0."""
        target_BL, label_BK = (torch.full_like(tensor, IGNORE) for tensor in (self.target_BL, self.label_BK))
        return replace(self, target_BL=target_BL, label_BK=label_BK)

    def to(self, device: torch.device) -> "Batch":
        """A copy on the device; where this batch is pinned, nothing waits for the transfer."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU fetches by itself."""
        return self.each(torch.Tensor.pin_memory)

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """A copy with `change` applied to every tensor but those that stay on the CPU."""
        tensors = {name: value for name, value in self.tensors().items() if name not in ("samples_B", "context_B")}
        return self.having(**{name: change(value) for name, value in tensors.items()})

    def having(self, **tensors: torch.Tensor) -> "Batch":
        """A copy with other tensors in these fields; learned_N is taken as it is."""
        changed = copy.copy(self)
        vars(changed).update(tensors)
        return changed
