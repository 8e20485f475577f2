"""Batched beam search under a grammar, with the posterior of every category.

A search is a function with the signature of `beam_search`. To add one: the function and a line of SEARCHES; its name is
a value of `search` in the configuration of decoding.

Axes: B utterances still searched, U utterances in all, K beams, V vocabulary, L tokens, C labels of a category.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from whisper_er.config import DecodeConfig
from whisper_er.text.grammar import Grammar
from whisper_er.text.repetition import repeated

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Search = Callable[[torch.Tensor, Step, Grammar, torch.Tensor, DecodeConfig], "BestHypotheses"]  # see beam_search


@dataclass
class Hypothesis:
    """The best hypothesis of one utterance, on the CPU.

    ids: tokens of the best hypothesis, <|endoftext|> included.
    score: log probability / length ** length_penalty.
    marginal, best: task position -> log posterior (C,), over the beam and given the best hypothesis.
    cut: whether it has as many tokens as it may have, so that its text may have ended too soon.
    """

    ids: list[int]
    score: float
    marginal: dict[int, torch.Tensor]
    best: dict[int, torch.Tensor]
    cut: bool = False


@dataclass
class BestHypotheses:
    """The best hypothesis of each utterance, still on the device.

    ids_UL: int64, what follows <|endoftext|> means nothing; score_U; marginal_UC, best_UC: task position -> log
    posterior; max_tokens_U: int64, most tokens that each could have.
    """

    ids_UL: torch.Tensor
    score_U: torch.Tensor
    marginal_UC: dict[int, torch.Tensor]
    best_UC: dict[int, torch.Tensor]
    max_tokens_U: torch.Tensor

    def read(self, end: int) -> list[Hypothesis]:
        """Copy them to the CPU, waiting for the device. end: the id of <|endoftext|>."""
        marginal_UC, best_UC = (
            {k: table.cpu() for k, table in tables.items()} for tables in (self.marginal_UC, self.best_UC)
        )
        ids_U = [ids[: ids.index(end) + 1] for ids in self.ids_UL.tolist()]
        return [
            Hypothesis(
                ids=ids,
                score=score,
                marginal={k: table[utt] for k, table in marginal_UC.items()},
                best={k: table[utt] for k, table in best_UC.items()},
                cut=len(ids) >= most,
            )
            for utt, (score, ids, most) in enumerate(zip(self.score_U.tolist(), ids_U, self.max_tokens_U.tolist()))
        ]


@torch.no_grad()
def beam_search(
    first_logits_UV: torch.Tensor,
    step: Step,
    grammar: Grammar,
    max_tokens_U: torch.Tensor,
    config: DecodeConfig,
) -> BestHypotheses:
    """The most probable sequence that the grammar allows, per utterance: score = log p / length ** length_penalty.

    first_logits_UV: after the prefix. step(tokens_BK, rows_BK) -> logits_BKV: appends the tokens to the hypotheses at
    these rows of the previous call, int64, counted over (utterance, beam) flattened; utterances whose search has ended
    are left out. max_tokens_U: most tokens of a sequence, <|endoftext|> included; on the CPU.
    An utterance is done when beam_size sequences are finished and the best running one, normalised by its length so
    far, is no better than the worst of them: the rule of transformers' generate with early_stopping=False.
    """
    beam = Beam(first_logits_UV.device, config, grammar, max_tokens_U)
    logits_BKV = first_logits_UV[:, None]
    while True:
        rows_BK = beam.extend(logits_BKV)
        running = positions(~beam.done())
        if not len(running):
            return beam.best()
        tokens_BK = beam.keep(running)
        logits_BKV = step(tokens_BK, rows_BK[running])


SEARCHES: dict[str, Search] = {"beam": beam_search}


def positions(mask_B: torch.Tensor) -> torch.Tensor:
    """int64, where a mask is True: the one value that a step of the search waits for the device to give."""
    return mask_B.nonzero()[:, 0]


class Beam:
    """Hypotheses of the utterances still searched, and the finished sequences of all."""

    def __init__(
        self, device: torch.device, config: DecodeConfig, grammar: Grammar, max_tokens_U: torch.Tensor
    ) -> None:
        num, longest, size = len(max_tokens_U), int(max_tokens_U.max()), config.beam_size
        self.size, self.length_penalty, self.grammar = size, config.length_penalty, grammar
        self.no_repeat_ngram_size = config.no_repeat_ngram_size
        self.max_tokens_U = max_tokens_U.to(device)
        self.length = 0  # tokens of every running hypothesis
        self.utts_B = torch.arange(num, device=device)
        self.score_BK = torch.zeros(num, 1, device=device)
        self.state_BK = torch.zeros(num, 1, dtype=torch.long, device=device)
        self.ids_BKL = torch.zeros(num, 1, longest, dtype=torch.long, device=device)
        self.done_score_UK = torch.full((num, size), -torch.inf, device=device)
        self.done_ids_UKL = torch.zeros(num, size, longest, dtype=torch.long, device=device)
        # Per category: its posterior given each hypothesis, running and finished, and over all prefixes visited.
        self.label_logp_BKC, self.done_logp_UKC, self.marginal_UC = {}, {}, {}
        for k, ids in enumerate(grammar.task_ids):
            if ids:
                self.label_logp_BKC[k] = torch.full((num, 1, len(ids)), -torch.inf, device=device)
                self.done_logp_UKC[k] = torch.full((num, size, len(ids)), -torch.inf, device=device)
                self.marginal_UC[k] = torch.full((num, len(ids)), -torch.inf, device=device)

    def extend(self, logits_BKV: torch.Tensor) -> torch.Tensor:
        """Extend each hypothesis by a token. Returns rows_BK, int64: its row in the previous step."""
        num, beams, vocabulary = logits_BKV.shape
        logp_BKV = logits_BKV.float().log_softmax(-1)
        label_logp_BKC = self.posteriors(logp_BKV)
        tokens_left_BK = (self.max_tokens_U[self.utts_B] - self.length)[:, None].expand(num, beams)
        allowed_NV = self.grammar.mask(self.state_BK.flatten(), tokens_left_BK.flatten(), first=self.length == 0)
        allowed_BKV = allowed_NV.view_as(logp_BKV)
        if size := self.no_repeat_ngram_size:
            allowed_BKV = allowed_BKV & ~repeated(
                self.ids_BKL[..., : self.length], size, self.grammar.num_text, vocabulary
            )
        total_BKV = self.score_BK[..., None] + logp_BKV.masked_fill(~allowed_BKV, -torch.inf)

        # 2 x beams candidates, so that `size` are left when some of them finish.
        score_B2, flat_B2 = total_BKV.flatten(1).topk(min(2 * self.size, beams * vocabulary))
        parent_B2, token_B2 = flat_B2 // vocabulary, flat_B2 % vocabulary
        utt_B1 = torch.arange(num, device=parent_B2.device)[:, None]
        state_B2 = self.grammar.after(self.state_BK[utt_B1, parent_B2], token_B2)
        ids_B2L = self.ids_BKL[utt_B1, parent_B2]
        ids_B2L[..., self.length] = token_B2
        label_logp_B2C = {k: logp[utt_B1, parent_B2] for k, logp in label_logp_BKC.items()}
        self.length += 1

        finished_B2 = state_B2 == self.grammar.finished
        self.finish(score_B2, finished_B2, ids_B2L, label_logp_B2C)
        self.score_BK, best_BK = score_B2.masked_fill(finished_B2, -torch.inf).topk(min(self.size, score_B2.shape[1]))
        self.state_BK, self.ids_BKL = state_B2[utt_B1, best_BK], ids_B2L[utt_B1, best_BK]
        self.label_logp_BKC = {k: logp[utt_B1, best_BK] for k, logp in label_logp_B2C.items()}
        return parent_B2[utt_B1, best_BK] + utt_B1 * beams

    def posteriors(self, logp_BKV: torch.Tensor) -> dict[int, torch.Tensor]:
        """Log posterior of each category, (B, K, C), where it may come next in a hypothesis; collects the marginal.

        marginal(c) = sum over the prefixes visited of p(prefix) p(c | prefix), normalised in `best`. Where the grammar
        demands the category p(c | prefix) is the softmax over its tokens; where other tokens may come as well it is the
        probability over the whole vocabulary, so that it also weighs how likely the category comes here. Under the free
        grammar a hypothesis awaits a category until its first label; one that ends without any has the posterior of its
        last place, that of <|endoftext|>.
        """
        posteriors = dict(self.label_logp_BKC)
        for k in posteriors:
            is_next_BK1 = self.grammar.awaits(self.state_BK, k)[..., None]
            logp_BKC = logp_BKV[..., self.grammar.task_ids[k][0] : self.grammar.task_ids[k][-1] + 1]
            slot_logp_BKC = logp_BKC.log_softmax(-1)
            posteriors[k] = torch.where(is_next_BK1, slot_logp_BKC, posteriors[k])
            demanded_BK1 = self.grammar.demands(self.state_BK, k)[..., None]
            joint_BKC = self.score_BK[..., None] + torch.where(demanded_BK1, slot_logp_BKC, logp_BKC)
            visited_BC = joint_BKC.masked_fill(~is_next_BK1, -torch.inf).logsumexp(1)
            self.marginal_UC[k][self.utts_B] = torch.logaddexp(self.marginal_UC[k][self.utts_B], visited_BC)
        return posteriors

    def finish(self, score_B2, finished_B2, ids_B2L, label_logp_B2C) -> None:
        """Merge the sequences that ended among the best `size` candidates into the finished ones."""
        among_best_2 = torch.arange(score_B2.shape[1], device=score_B2.device) < self.size
        normalised_B2 = (score_B2 / self.length**self.length_penalty).masked_fill(
            ~(finished_B2 & among_best_2), -torch.inf
        )
        rows = torch.arange(len(self.utts_B), device=score_B2.device)[:, None]
        pool = torch.cat([self.done_score_UK[self.utts_B], normalised_B2], dim=1)
        self.done_score_UK[self.utts_B], best = pool.topk(self.size)
        self.done_ids_UKL[self.utts_B] = torch.cat([self.done_ids_UKL[self.utts_B], ids_B2L], dim=1)[rows, best]
        for k, logp in label_logp_B2C.items():
            self.done_logp_UKC[k][self.utts_B] = torch.cat([self.done_logp_UKC[k][self.utts_B], logp], 1)[rows, best]

    def done(self) -> torch.Tensor:
        """bool (B,): no running hypothesis can still enter the finished ones."""
        best_running_B = self.score_BK[:, 0] / self.length**self.length_penalty
        worst_B = self.done_score_UK[self.utts_B, -1]
        return (best_running_B <= worst_B) | (self.score_BK[:, 0] == -torch.inf)

    def keep(self, running: torch.Tensor) -> torch.Tensor:
        """Keep the utterances at these positions; returns the last token of each hypothesis, tokens_BK."""
        self.utts_B, self.score_BK, self.state_BK = self.utts_B[running], self.score_BK[running], self.state_BK[running]
        self.ids_BKL = self.ids_BKL[running]
        self.label_logp_BKC = {k: logp[running] for k, logp in self.label_logp_BKC.items()}
        return self.ids_BKL[..., self.length - 1]

    def best(self) -> BestHypotheses:
        return BestHypotheses(
            self.done_ids_UKL[:, 0],
            self.done_score_UK[:, 0],
            {k: table_UC.log_softmax(-1) for k, table_UC in self.marginal_UC.items()},
            {k: table_UKC[:, 0] for k, table_UKC in self.done_logp_UKC.items()},
            self.max_tokens_U,
        )
