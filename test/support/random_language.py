"""A stand-in for the decoder in tests of the search: random probabilities that depend on everything said so far."""

import math

import torch


class RandomLanguage:
    """logp(utt, said) is the same whenever it is asked; `step` remembers rows as a decoder's cache does."""

    def __init__(self, num_utts: int, vocabulary: int, seed: int, bias: torch.Tensor | float = 0.0) -> None:
        self.vocabulary, self.seed, self.bias = vocabulary, seed, bias
        self.rows = [(utt, ()) for utt in range(num_utts)]
        self.steps = 0

    def logits(self, utt: int, said: tuple[int, ...]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(hash((self.seed, utt, *said)) % 2**32)
        return 1.5 * torch.randn(self.vocabulary, generator=generator) + self.bias

    def logp(self, utt: int, said: tuple[int, ...]) -> torch.Tensor:
        return self.logits(utt, said).double().log_softmax(-1)

    def logp_of(self, utt: int, ids: tuple[int, ...]) -> float:
        """Log probability of a whole sequence."""
        return math.fsum(self.logp(utt, ids[:i])[token].item() for i, token in enumerate(ids))

    def first(self) -> torch.Tensor:
        return torch.stack([self.logits(*row) for row in self.rows])

    def step(self, tokens_BK: torch.Tensor, rows_BK: torch.Tensor) -> torch.Tensor:
        pairs = zip(tokens_BK.flatten().tolist(), rows_BK.flatten().tolist(), strict=True)
        self.rows = [(self.rows[row][0], (*self.rows[row][1], token)) for token, row in pairs]
        self.steps += 1
        return torch.stack([self.logits(*row) for row in self.rows]).view(*tokens_BK.shape, -1)
