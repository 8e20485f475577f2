"""The grammar of targets, each task in order and then <|endoftext|>, as tables that the beam search looks up.

A state is a position in the list of slots, one slot per task and one for <|endoftext|>. A category's slot takes exactly
one of its tokens. A text's slot takes any number of text tokens; the first token of the next slot ends it.
"""

import torch

from whisper_er.text.tokenizer import NOTHING_SUPPRESSED, Suppressed, Tokenizer


class Grammar:
    """Axes: Q states (the last one is "finished"), V vocabulary.

    allowed_QV: bool, tokens that are allowed in a state.
    next_QV:    int64, the state after a token.
    is_text_V:  bool, tokens of text.
    closing_Q:  int64, tokens needed to finish from a state without further text.
    shortest:   tokens of the shortest target; a Python int, so that its use reads nothing from a device.
    category_Q: int64, the task whose category comes next if a state's text ends here; -1: none.
    never_V, not_first_V: bool, tokens that are suppressed everywhere, and as the first token.
    """

    def __init__(self, tokenizer: Tokenizer, suppressed: Suppressed = NOTHING_SUPPRESSED) -> None:
        num_tasks = len(tokenizer.tasks)
        self.end, self.finished = tokenizer.end, num_tasks + 1
        self.tasks, self.task_ids = tokenizer.tasks, tokenizer.task_ids
        self.allowed_QV = torch.zeros(num_tasks + 2, tokenizer.size, dtype=torch.bool)
        self.next_QV = torch.arange(num_tasks + 2)[:, None].repeat(1, tokenizer.size)
        self.closing_Q = torch.zeros(num_tasks + 2, dtype=torch.long)
        self.category_Q = torch.full((num_tasks + 2,), -1)
        self.is_text_V = torch.arange(tokenizer.size) < tokenizer.text.num_text

        self.shortest = 1 + sum(task.kind != "text" for task in self.tasks)
        self.never_V, self.not_first_V = (torch.zeros(tokenizer.size, dtype=torch.bool) for _ in range(2))
        self.never_V[list(suppressed.always)] = True
        self.not_first_V[list(suppressed.first)] = True

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

    def to(self, device: torch.device) -> "Grammar":
        """Move the tables; returns self."""
        for name in ("allowed_QV", "next_QV", "closing_Q", "category_Q", "is_text_V", "never_V", "not_first_V"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def mask(self, state_N: torch.Tensor, tokens_left_N: torch.Tensor, first: bool = False) -> torch.Tensor:
        """bool (N, V): tokens allowed in each state, so that the sequence can still finish in tokens_left_N."""
        room_N = tokens_left_N - 1 >= self.closing_Q[state_N]
        suppressed_V = self.never_V | self.not_first_V if first else self.never_V
        # What has to be said, since there is no room for more, is said though it be suppressed.
        suppressed_NV = suppressed_V & (room_N[:, None] | self.is_text_V)
        return self.allowed_QV[state_N] & (room_N[:, None] | ~self.is_text_V) & ~suppressed_NV
