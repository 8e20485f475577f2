"""A token table whose added rows alone are trained; those of the base vocabulary stay as they are.

peft's trainable tokens copy the whole table in every pass and give it a gradient, 265 MB each for large-v3, and the
output layer, which is the same table, would read its untrained weight.
"""

import torch
import torch.nn.functional as F


class AddedRows(torch.nn.Module):
    """A token embedding that is the output layer as well. Axes: N base tokens, A added ones, D width.

    base: frozen, (N, D); added: trained, (A, D), the rows of the ids from N on.
    """

    def __init__(self, table: torch.nn.Embedding, base_size: int) -> None:
        super().__init__()
        weight = table.weight.detach()
        self.base = torch.nn.Parameter(weight[:base_size], requires_grad=False)
        self.added = torch.nn.Parameter(weight[base_size:].clone())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """int64 ids (...) -> (..., D)."""
        size = len(self.base)
        base = F.embedding(ids.clamp(max=size - 1), self.base)
        return torch.where((ids < size)[..., None], base, F.embedding((ids - size).clamp(min=0), self.added))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (..., D) -> (..., N + A)."""
        return torch.cat([F.linear(hidden, self.base), F.linear(hidden, self.added)], dim=-1)
