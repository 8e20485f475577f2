"""Batched beam search under a grammar, with the posterior of every category.

A search is a function with the signature of `beam_search`. To add one: the function and a line of SEARCHES; its name is
a value of `search` in the configuration of decoding.

Axes: B utterances still searched, U utterances in all, K beams, V vocabulary, L tokens, C labels of a category.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

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
    beam, longest = Beam(config, grammar), int(max_tokens_U.max())
    beam.start(max_tokens_U, first_logits_UV.device, room=longest)
    parent_BK, beams = beam.extend(first_logits_UV[:, None], first=True), 1
    while len(running := positions(~beam.done())):
        assert beam.length < longest
        beam.keep(running)
        logits_BKV = step(beam.token_BK, running[:, None] * beams + parent_BK[running])
        parent_BK, beams = beam.extend(logits_BKV), logits_BKV.shape[1]
    return beam.best()


SEARCHES: dict[str, Search] = {"beam": beam_search}


def positions(mask_B: torch.Tensor) -> torch.Tensor:
    """int64, where a mask is True: the one value that a step of the search waits for the device to give."""
    return mask_B.nonzero()[:, 0]


class Beam:
    """Hypotheses of the utterances still searched, their finished sequences, and the best ones of all utterances.

    Its tensors have the axis B in front; `extend` takes each utterance by itself.
    length: tokens of every running hypothesis; an int, or a tensor on the device, which `extend` does not read then.
    """

    def __init__(self, config: DecodeConfig, grammar: Grammar) -> None:
        self.size, self.length_penalty, self.grammar = config.beam_size, config.length_penalty, grammar
        self.no_repeat_ngram_size = config.no_repeat_ngram_size
        self.length: int | torch.Tensor = 0
        self.places_C, labels = {}, 0  # of the labels of each category, which stand side by side
        for k, ids in enumerate(grammar.task_ids):
            if ids:
                self.places_C[k] = slice(labels, labels := labels + len(ids))
        self.num_labels = labels

    def start(self, max_tokens_U: torch.Tensor, device: torch.device, room: int) -> None:
        """One empty hypothesis for each utterance. room: tokens of a hypothesis that there is room for."""
        num, size, labels = len(max_tokens_U), self.size, self.num_labels

        def full(*shape: int, value: float) -> torch.Tensor:
            return torch.full(shape, value, device=device)

        self.utts_B = torch.arange(num, device=device)
        self.max_tokens_B = max_tokens_U.to(device)
        self.token_BK, self.state_BK = full(num, 1, value=0), full(num, 1, value=0)
        self.score_BK = full(num, 1, value=0.0)
        self.ids_BKL = full(num, 1, room, value=0)
        self.done_score_BK = full(num, size, value=-torch.inf)
        self.done_ids_BKL = full(num, size, room, value=0)
        # Log posteriors of labels given each hypothesis, running and finished, and over all prefixes visited.
        self.label_logp_BKC = full(num, 1, labels, value=-torch.inf)
        self.done_logp_BKC = full(num, size, labels, value=-torch.inf)
        self.marginal_BC = full(num, labels, value=-torch.inf)

        self.max_tokens_U = self.max_tokens_B
        self.best_score_U = full(num, value=-torch.inf)
        self.best_ids_UL = full(num, int(max_tokens_U.max()), value=0)
        self.best_logp_UC, self.marginal_UC = (full(num, labels, value=-torch.inf) for _ in range(2))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Those of the utterances still searched, by name."""
        return {name: value for name, value in vars(self).items() if "_B" in name}

    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Replace them."""
        vars(self).update(tensors)

    def make_room(self, room: int) -> None:
        """For hypotheses of so many tokens."""
        for name in ("ids_BKL", "done_ids_BKL"):
            tensor = getattr(self, name)
            setattr(self, name, F.pad(tensor, (0, room - tensor.shape[2])))

    def extend(self, logits_BKV: torch.Tensor, first: bool = False) -> torch.Tensor:
        """Extend each hypothesis by a token. Returns parent_BK, int64: the one that each came from. first: by its
        first token."""
        num, beams, vocabulary = logits_BKV.shape
        logp_BKV = logits_BKV.float().log_softmax(-1)
        label_logp_BKC, self.marginal_BC = self.posteriors(logp_BKV)
        tokens_left_BK = (self.max_tokens_B - self.length)[:, None].expand(num, beams)
        allowed_NV = self.grammar.mask(self.state_BK.flatten(), tokens_left_BK.flatten(), first)
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
        is_last_L = torch.arange(self.ids_BKL.shape[2], device=parent_B2.device) == self.length
        ids_B2L = torch.where(is_last_L, token_B2[..., None], self.ids_BKL[utt_B1, parent_B2])
        label_logp_B2C = label_logp_BKC[utt_B1, parent_B2]
        self.length = self.length + 1

        finished_B2 = state_B2 == self.grammar.finished
        self.finish(score_B2, finished_B2, ids_B2L, label_logp_B2C)
        self.score_BK, best_BK = score_B2.masked_fill(finished_B2, -torch.inf).topk(min(self.size, score_B2.shape[1]))
        self.state_BK, self.ids_BKL = state_B2[utt_B1, best_BK], ids_B2L[utt_B1, best_BK]
        self.token_BK, self.label_logp_BKC = token_B2[utt_B1, best_BK], label_logp_B2C[utt_B1, best_BK]
        return parent_B2[utt_B1, best_BK]

    def posteriors(self, logp_BKV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log posteriors of the labels, (B, K, C), where their category may come next in a hypothesis, and the
        marginal ones, (B, C).

        marginal(c) = sum over the prefixes visited of p(prefix) p(c | prefix), normalised in `best`. Where the grammar
        demands the category p(c | prefix) is the softmax over its tokens; where other tokens may come as well it is the
        probability over the whole vocabulary, so that it also weighs how likely the category comes here. Under the free
        grammar a hypothesis awaits a category until its first label; one that ends without any has the posterior of its
        last place, that of <|endoftext|>.
        """
        posteriors, visited = [self.label_logp_BKC[..., :0]], [self.marginal_BC[:, :0]]
        for k, places in self.places_C.items():
            is_next_BK1 = self.grammar.awaits(self.state_BK, k)[..., None]
            logp_BKC = logp_BKV[..., self.grammar.task_ids[k][0] : self.grammar.task_ids[k][-1] + 1]
            slot_logp_BKC = logp_BKC.log_softmax(-1)
            posteriors.append(torch.where(is_next_BK1, slot_logp_BKC, self.label_logp_BKC[..., places]))
            demanded_BK1 = self.grammar.demands(self.state_BK, k)[..., None]
            joint_BKC = self.score_BK[..., None] + torch.where(demanded_BK1, slot_logp_BKC, logp_BKC)
            visited.append(joint_BKC.masked_fill(~is_next_BK1, -torch.inf).logsumexp(1))
        return torch.cat(posteriors, -1), torch.logaddexp(self.marginal_BC, torch.cat(visited, -1))

    def finish(self, score_B2, finished_B2, ids_B2L, label_logp_B2C) -> None:
        """Merge the sequences that ended among the best `size` candidates into the finished ones."""
        among_best_2 = torch.arange(score_B2.shape[1], device=score_B2.device) < self.size
        normalised_B2 = (score_B2 / self.length**self.length_penalty).masked_fill(
            ~(finished_B2 & among_best_2), -torch.inf
        )
        rows = torch.arange(len(score_B2), device=score_B2.device)[:, None]
        self.done_score_BK, best = torch.cat([self.done_score_BK, normalised_B2], dim=1).topk(self.size)
        self.done_ids_BKL = torch.cat([self.done_ids_BKL, ids_B2L], dim=1)[rows, best]
        self.done_logp_BKC = torch.cat([self.done_logp_BKC, label_logp_B2C], dim=1)[rows, best]

    def done(self) -> torch.Tensor:
        """bool (B,): no running hypothesis can still enter the finished ones."""
        best_running_B = self.score_BK[:, 0] / self.length**self.length_penalty
        return (best_running_B <= self.done_score_BK[:, -1]) | (self.score_BK[:, 0] == -torch.inf)

    def keep(self, running: torch.Tensor) -> None:
        """Go on with the utterances at these positions."""
        self.record()
        self.put({name: tensor[running] for name, tensor in self.tensors().items()})

    def record(self) -> None:
        """Write down the best hypothesis of each utterance still searched."""
        longest = min(self.best_ids_UL.shape[1], self.done_ids_BKL.shape[2])
        self.best_score_U[self.utts_B] = self.done_score_BK[:, 0]
        self.best_ids_UL[self.utts_B, :longest] = self.done_ids_BKL[:, 0, :longest]
        self.best_logp_UC[self.utts_B], self.marginal_UC[self.utts_B] = self.done_logp_BKC[:, 0], self.marginal_BC

    def best(self) -> BestHypotheses:
        self.record()
        return BestHypotheses(
            self.best_ids_UL,
            self.best_score_U,
            {k: self.marginal_UC[:, places].log_softmax(-1) for k, places in self.places_C.items()},
            {k: self.best_logp_UC[:, places] for k, places in self.places_C.items()},
            self.max_tokens_U,
        )
