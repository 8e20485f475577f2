"""What a search may write: well-formed targets (StrictGrammar), or any tokens (FreeGrammar).

A grammar gives each hypothesis a state, from which it knows which tokens may follow and which labels are still to come.
Axes: N hypotheses, Q states, V vocabulary.
"""

import torch

from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import NOTHING_SUPPRESSED, Suppressed


class Grammar:
    """What both have. States are int64; a hypothesis begins in state 0.

    finished:   the state after <|endoftext|>.
    shortest:   tokens of the shortest well-formed target; a Python int, so that its use reads nothing from a device.
    num_text:   ids below it are text.
    never_V, not_first_V: bool, tokens that are suppressed everywhere, and as the first token.
    """

    finished: int

    def __init__(self, tokenizer: Tokenizer, suppressed: Suppressed = NOTHING_SUPPRESSED) -> None:
        self.end, self.tasks, self.task_ids = tokenizer.end, tokenizer.tasks, tokenizer.task_ids
        self.num_text = tokenizer.text.num_text
        self.shortest = 1 + sum(task.kind != "text" for task in self.tasks)
        self.never_V, self.not_first_V = (torch.zeros(tokenizer.size, dtype=torch.bool) for _ in range(2))
        self.never_V[list(suppressed.always)] = True
        self.not_first_V[list(suppressed.first)] = True

    def to(self, device: torch.device) -> "Grammar":
        """Move the tables; returns self."""
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(self, name, value.to(device))
        return self

    def suppressed_V(self, first: bool) -> torch.Tensor:
        return self.never_V | self.not_first_V if first else self.never_V

    def mask(self, state_N: torch.Tensor, tokens_left_N: torch.Tensor, first: bool = False) -> torch.Tensor:
        """bool (N, V): tokens allowed in each state, so that the sequence can still finish in tokens_left_N."""
        raise NotImplementedError

    def after(self, state: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """The state after a token, elementwise."""
        raise NotImplementedError

    def awaits(self, state: torch.Tensor, k: int) -> torch.Tensor:
        """bool, elementwise: whether the label of task k may come next."""
        raise NotImplementedError

    def demands(self, state: torch.Tensor, k: int) -> torch.Tensor:
        """bool, elementwise: whether nothing but the label of task k may come next."""
        raise NotImplementedError


class StrictGrammar(Grammar):
    """Each task in order, then <|endoftext|>, as tables.

    A state is a position in the list of slots, one slot per task and one for <|endoftext|>. A category's slot takes
    exactly one of its tokens. A text's slot takes any number of text tokens; the first token of the next slot ends it.

    allowed_QV: bool, tokens that are allowed in a state.
    next_QV:    int64, the state after a token.
    is_text_V:  bool, tokens of text.
    closing_Q:  int64, tokens needed to finish from a state without further text.
    category_Q: int64, the task whose category comes next if a state's text ends here; -1: none.
    """

    def __init__(self, tokenizer: Tokenizer, suppressed: Suppressed = NOTHING_SUPPRESSED) -> None:
        super().__init__(tokenizer, suppressed)
        num_tasks = len(tokenizer.tasks)
        self.finished = num_tasks + 1
        self.allowed_QV = torch.zeros(num_tasks + 2, tokenizer.size, dtype=torch.bool)
        self.next_QV = torch.arange(num_tasks + 2)[:, None].repeat(1, tokenizer.size)
        self.closing_Q = torch.zeros(num_tasks + 2, dtype=torch.long)
        self.category_Q = torch.full((num_tasks + 2,), -1)
        self.is_text_V = torch.arange(tokenizer.size) < self.num_text

        self.allowed_QV[num_tasks, self.end] = True
        self.next_QV[num_tasks, self.end] = self.finished
        self.closing_Q[num_tasks] = 1
        for k in reversed(range(num_tasks)):
            if self.tasks[k].kind == "text":
                # The next slot's first token may come at once; it leads to the same state as from that slot.
                self.allowed_QV[k] = self.is_text_V | self.allowed_QV[k + 1]
                self.next_QV[k] = torch.where(self.is_text_V, k, self.next_QV[k + 1])
                self.closing_Q[k] = self.closing_Q[k + 1]
                self.category_Q[k] = self.category_Q[k + 1]
            else:
                self.allowed_QV[k, self.task_ids[k]] = True
                self.next_QV[k, self.task_ids[k]] = k + 1
                self.closing_Q[k] = self.closing_Q[k + 1] + 1
                self.category_Q[k] = k

    def mask(self, state_N: torch.Tensor, tokens_left_N: torch.Tensor, first: bool = False) -> torch.Tensor:
        room_N = tokens_left_N - 1 >= self.closing_Q[state_N]
        # What has to be said, since there is no room for more, is said though it be suppressed.
        suppressed_NV = self.suppressed_V(first) & (room_N[:, None] | self.is_text_V)
        return self.allowed_QV[state_N] & (room_N[:, None] | ~self.is_text_V) & ~suppressed_NV

    def after(self, state: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return self.next_QV[state, token]

    def awaits(self, state: torch.Tensor, k: int) -> torch.Tensor:
        return self.category_Q[state] == k

    def demands(self, state: torch.Tensor, k: int) -> torch.Tensor:
        return state == k


class FreeGrammar(Grammar):
    """Any token of the vocabulary anywhere: a plain search. The last token that there is room for is <|endoftext|>.

    A state is the set of tasks that have a label so far, a bit for each: the first token of a task is its answer, and a
    table over all sets would have 2^K rows.

    bit_V: int64, the bit of a label's task; 0 for every other token.
    """

    def __init__(self, tokenizer: Tokenizer, suppressed: Suppressed = NOTHING_SUPPRESSED) -> None:
        super().__init__(tokenizer, suppressed)
        self.finished = 1 << len(self.tasks)
        self.bit_V = torch.zeros(tokenizer.size, dtype=torch.long)
        for k, ids in enumerate(self.task_ids):
            self.bit_V[ids] = 1 << k
        self.is_end_V = torch.arange(tokenizer.size) == self.end

    def mask(self, state_N: torch.Tensor, tokens_left_N: torch.Tensor, first: bool = False) -> torch.Tensor:
        room_N1 = (tokens_left_N > 1)[:, None]
        return torch.where(room_N1, ~self.suppressed_V(first), self.is_end_V)

    def after(self, state: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return (state | self.bit_V[token]).masked_fill(token == self.end, self.finished)

    def awaits(self, state: torch.Tensor, k: int) -> torch.Tensor:
        return state & (1 << k) == 0

    def demands(self, state: torch.Tensor, k: int) -> torch.Tensor:
        return torch.zeros_like(state, dtype=torch.bool)


GRAMMARS: dict[str, type[Grammar]] = {"strict": StrictGrammar, "free": FreeGrammar}
