"""The beam search on tensors whose shapes stay: on a GPU a step is one launch, a CUDA graph, not thousands.

Utterances that are done stay in the batch and keep what they have. The host asks only every few steps whether all are
done; where the tokens outgrow the slots of the cache, it makes twice as many, and those that are done leave.
"""

from threading import Lock
from typing import Protocol

import torch

from whisper_er.config import DecodeConfig
from whisper_er.graphs.captured import Tensors
from whisper_er.graphs.repeated import Repeated
from whisper_er.graphs.shapes import next_size
from whisper_er.search.beam import Beam, BestHypotheses, positions
from whisper_er.text.grammar import Grammar

SLOTS = 32  # tokens of a hypothesis that the cache first has room for: 8 s of English; then twice as many, and so on
ROWS = (1, 1.125)  # unit and ratio of the scale of utterances in a batch
STEPS = 4  # between two questions whether all are done; divides SLOTS
GRAPHS = 64  # that are kept; 3,400 utterances as long as IEMOCAP's, in batches of 600 s, meet 34
TURNS = Lock()  # one thread searches at a time: those of a model share memory, and a capture waits for the whole device


class Decoder(Protocol):
    """What the search needs of a decoder with a cache of fixed size; models/static_decoder.py has it."""

    def with_slots(self, tensors: Tensors, slots: int) -> Tensors: ...

    def step(self, tensors: Tensors, token_BK: torch.Tensor, slot: torch.Tensor) -> torch.Tensor: ...

    def follow(self, tensors: Tensors, parent_BK: torch.Tensor) -> None: ...


class CapturedBeamSearch:
    """`beam_search` with a decoder of fixed shapes. The first token is found eagerly, as is what comes before: the
    encoder and the prefix are few launches beside those of the steps.

    config: without no_repeat_ngram_size; the vocabulary has beam_size tokens or more. rehearse: without a GPU.
    """

    def __init__(
        self, decoder: Decoder, grammar: Grammar, config: DecodeConfig, device: torch.device, rehearse: bool = False
    ) -> None:
        self.decoder, self.grammar, self.config = decoder, grammar, config
        self.repeated = Repeated(self.step, device, GRAPHS, rehearse)

    def __call__(self, first_logits_UV: torch.Tensor, cache: Tensors, max_tokens_U: torch.Tensor) -> BestHypotheses:
        """As beam_search. cache: the decoder's tensors after the prefix, still without slots; it is emptied."""
        with TURNS:
            return self.search(first_logits_UV, cache, max_tokens_U)

    @torch.no_grad()
    def search(self, first_logits_UV: torch.Tensor, cache: Tensors, max_tokens_U: torch.Tensor) -> BestHypotheses:
        beam, longest = Beam(self.config, self.grammar), int(max_tokens_U.max())
        beam.start(max_tokens_U, first_logits_UV.device, room=1)
        beam.extend(first_logits_UV[:, None], first=True)
        running, length, slots = positions(~beam.done()), 1, 0
        while number := len(running):
            assert length < longest
            # Rows beyond the utterances that are searched are copies of the first one, which are done.
            rows = torch.cat([running, running[:1].expand(next_size(number, *ROWS) - number)])
            slots = max(SLOTS, 2 * slots)
            beam.keep(rows)
            beam.make_room(slots + 1)
            state = within("beam", beam.tensors())
            state |= within("cache", self.decoder.with_slots(taken(cache, rows), slots))
            state["running_B"] = torch.arange(len(rows), device=rows.device) < number
            state["length"] = torch.full((), length, device=rows.device)
            self.repeated.begin(state)
            del state
            while length <= slots:
                for _ in range(STEPS):
                    is_any_running = self.repeated.step()["is_any_running"]
                length += STEPS
                if not is_any_running:  # waits for the device
                    break
            running, cache = positions(self.repeated.inputs["running_B"]), inside("cache", self.repeated.inputs)
            beam.put({name: tensor[:number] for name, tensor in inside("beam", self.repeated.inputs).items()})
        return beam.best()

    def step(self, state: Tensors) -> Tensors:
        """A token more for each utterance that is running; the state is changed where it lies."""
        beam, before, cache = Beam(self.config, self.grammar), inside("beam", state), inside("cache", state)
        beam.put(before)
        beam.length = state["length"]
        parent_BK = beam.extend(self.decoder.step(cache, beam.token_BK, slot=state["length"] - 1))
        self.decoder.follow(cache, parent_BK)
        for name, after in beam.tensors().items():
            if after is not before[name]:
                is_running_B = state["running_B"].view(-1, *[1] * (after.dim() - 1))
                before[name].copy_(torch.where(is_running_B, after, before[name]))
        state["running_B"] &= ~beam.done()
        state["length"] += 1
        return {"is_any_running": state["running_B"].any()}


def within(group: str, tensors: Tensors) -> Tensors:
    return {f"{group}.{name}": tensor for name, tensor in tensors.items()}


def inside(group: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(f"{group}."): tensor for name, tensor in tensors.items() if name.startswith(f"{group}.")}


def taken(tensors: Tensors, rows: torch.Tensor) -> Tensors:
    """The rows of each tensor, which then leaves `tensors`, so that memory does not have to hold all of them twice."""
    return {name: tensors.pop(name)[rows] for name in list(tensors)}
