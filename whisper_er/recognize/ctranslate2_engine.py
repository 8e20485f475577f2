"""A Whisper-ER that CTranslate2 runs: our features and grammar around its encoder, decoder and beam search.

CTranslate2 takes no mask, so only utterances with the same number of frames go through it together. Its search knows
no grammar: of a hypothesis that is not well-formed the beginning is kept, and the labels that it lacks are the model's
best after that. Posteriors are given the best hypothesis; there are none over its beam.
Axes: B utterances, F mel bins, N mel frames, L tokens, V vocabulary, C labels of a category.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from whisper_er.base.errors import UserError
from whisper_er.batch import Batch
from whisper_er.config import DecodeConfig
from whisper_er.models.features import LogMel, PadRule
from whisper_er.models.search import Hypothesis
from whisper_er.models.seq2seq import longest_targets, to_prediction
from whisper_er.task import Prediction
from whisper_er.text.grammar import Grammar
from whisper_er.text.tokenizer import Tokenizer

# It stops when beam_size x patience hypotheses have finished, ours when none that still runs can win. Of 120 utterances
# of mini_emo 6 transcripts and 2 labels differed from ours with 1, none with 2.
PATIENCE = 2.0
TIMESTAMPS_OFF = "<|notimestamps|>"


def import_ctranslate2() -> ModuleType:
    try:
        import ctranslate2
    except ImportError:
        raise UserError("CTranslate2 is not installed; pip install 'whisper_er[export]'") from None
    return ctranslate2


def prompt_of(tokenizer: Tokenizer) -> list[int]:
    """What is given to CTranslate2 for the prefix.

    It applies Whisper's rules on timestamps unless a prompt ends with <|notimestamps|>; where the vocabulary has none,
    it takes <|endoftext|> for it, and for <|startoftranscript|> as well. So a prefix without <|notimestamps|> is asked
    for as <|endoftext|>, whose row of the input embedding, never read by our targets, converting has made the start's.
    """
    if tokenizer.prefix[-1] == tokenizer.text.find(TIMESTAMPS_OFF):
        return list(tokenizer.prefix)
    assert len(tokenizer.prefix) == 1
    return [tokenizer.end]


class CTranslate2Whisper:
    """A Predictor. completed: hypotheses so far whose labels were not all at their places."""

    family = "CTranslate2"

    def __init__(self, directory: Path, tokenizer: Tokenizer, pad: PadRule, max_target: int) -> None:
        self.directory, self.tokenizer, self.max_target = directory, tokenizer, max_target
        self.grammar, self.prompt = Grammar(tokenizer), prompt_of(tokenizer)
        self.completed = 0
        self.engine = self.load(torch.device("cpu"))
        self.logmel = LogMel(self.engine.n_mels, pad)

    def load(self, device: torch.device) -> Any:
        """CTranslate2's model on this device; UserError where the directory holds none that it reads."""
        library = import_ctranslate2()
        if not (self.directory / "model.bin").is_file():
            raise UserError(f"{self.directory / 'model.bin'}: no such file; convert the model again")
        try:
            return library.models.Whisper(
                str(self.directory),
                device.type,
                device_index=device.index or 0,
                intra_threads=torch.get_num_threads(),
                inter_threads=1,
            )
        except Exception as error:  # whatever its C++ raises
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self.directory}: CTranslate2 cannot read it ({reason}); convert it again") from None

    def to(self, device: torch.device) -> "CTranslate2Whisper":
        if (device.type, device.index or 0) != (self.engine.device, self.engine.device_index[0]):
            self.engine = self.load(device)
        self.logmel.to(device)
        return self

    def pack(self) -> None:
        """Converting has laid its weights out."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """None: they are CTranslate2's own."""
        return iter(())

    @torch.no_grad()
    def predict(self, batch: Batch, config: DecodeConfig) -> list[Prediction]:
        if config.search != "beam":
            raise UserError(
                f"search={config.search}: a CTranslate2 model has a beam search of its own; set search=beam"
            )
        if config.suppress != "none":
            raise UserError(f"suppress={config.suppress}: a CTranslate2 model suppresses nothing; set suppress=none")
        if config.dtype != "float32":
            raise UserError(
                f"dtype={config.dtype}: a CTranslate2 model computes in what it was converted to; leave "
                "dtype at float32"
            )
        mel_BFN, frames_B = self.logmel(batch.wave_BS, batch.samples_B)
        positions = self.max_target - len(self.prompt)
        longest_B = longest_targets(self.grammar, batch.samples_B, config.maxlenratio, positions)
        predictions: dict[int, Prediction] = {}
        alike_B2 = torch.stack([frames_B, longest_B], dim=1)  # those that may go together
        for frames, longest in alike_B2.unique(dim=0).tolist():
            rows = (alike_B2 == torch.tensor([frames, longest])).all(1).nonzero()[:, 0].tolist()
            mel = mel_BFN[rows, :, :frames].float().cpu().contiguous().numpy()
            for row, hypothesis in zip(rows, self.search(mel, longest, config)):
                predictions[row] = to_prediction(self.tokenizer, batch.utt_ids[row], hypothesis, "best")
        return [predictions[row] for row in range(len(batch))]

    def search(self, mel_BFN: np.ndarray, longest: int, config: DecodeConfig) -> list[Hypothesis]:
        """The best hypotheses of utterances with the same number of frames, each with all its labels."""
        states = import_ctranslate2().StorageView.from_array(mel_BFN)
        # It takes states for features where they have as many frames as features have bins (1.6 s for 80).
        if mel_BFN.shape[2] // 2 != mel_BFN.shape[1]:
            states = self.engine.encode(states)
        results = self.engine.generate(
            states, [self.prompt] * len(mel_BFN), beam_size=config.beam_size, length_penalty=config.length_penalty,
            patience=PATIENCE,
            max_length=self.max_length(longest), return_scores=True, suppress_blank=False, suppress_tokens=[],
        )  # fmt: skip
        hypotheses = [result.sequences_ids[0] for result in results]
        kept, states_left = zip(*(self.well_formed(ids, longest) for ids in hypotheses))
        said, best = self.label(states, kept, states_left)
        found = []
        for result, ids, own, begun, posterior in zip(results, hypotheses, said, kept, best):
            self.completed += len(own) > len(begun)
            # Text that stood behind the first fault is not lost, as far as there is room for it.
            rest = [index for index in ids[len(begun) :] if index < self.tokenizer.text.num_text]
            rest = rest[: max(0, longest - len(own) - 1)]
            found.append(Hypothesis([*own, *rest, self.tokenizer.end], result.scores[0], posterior, posterior))
        return found

    def max_length(self, tokens: int) -> int:
        """For so many tokens: CTranslate2 takes half, or what the prompt but for its last token leaves."""
        return max(2 * tokens, tokens + len(self.prompt) - 1)

    def well_formed(self, ids: Sequence[int], longest: int) -> tuple[list[int], int]:
        """The longest beginning that the grammar allows and can finish in time, and the state it leads to."""
        state = torch.zeros(1, dtype=torch.long)
        for position, index in enumerate(ids):
            if not self.grammar.mask(state, torch.tensor([longest - position]))[0, index]:
                return list(ids[:position]), int(state)
            state = self.grammar.next_QV[state, index]
        return list(ids), int(state)

    def label(
        self, encoded: Any, begun: Sequence[Sequence[int]], states: Sequence[int]
    ) -> tuple[list[list[int]], list[dict[int, torch.Tensor]]]:
        """Say the categories that are left, best first; the log posterior (C,) of each task's category where it stands.

        begun: ids of each utterance, up to `states`. Every round reads off the model what it gives after all of them.
        """
        said, states = [list(ids) for ids in begun], list(states)
        while True:
            logits = self.logits_along(encoded, said)
            due = [int(self.grammar.category_Q[state]) for state in states]
            if all(k < 0 for k in due):
                return said, [self.posteriors(ids, own) for ids, own in zip(said, logits)]
            for row, k in enumerate(due):
                if k >= 0:
                    ids_C = self.tokenizer.task_ids[k]
                    token = ids_C[int(np.argmax(logits[row][len(said[row])][ids_C]))]
                    states[row] = int(self.grammar.next_QV[states[row], token])
                    # A text that should follow is not asked for again: what comes next are the labels behind it.
                    said[row].append(token)

    def logits_along(self, encoded: Any, said: Sequence[Sequence[int]]) -> list[list[np.ndarray]]:
        """Per utterance the logits (V,) before each of its tokens and after the last.

        Beam search returns none, greedy search does, and it takes what follows the prompt as already said.
        """
        results = self.engine.generate(
            encoded, [[*self.prompt, *ids] for ids in said], beam_size=1,
            max_length=self.max_length(max(map(len, said)) + 1), return_logits_vocab=True, suppress_blank=False,
            suppress_tokens=[],
        )  # fmt: skip
        return [[np.array(step).reshape(-1) for step in result.logits[0]] for result in results]

    def posteriors(self, said: Sequence[int], logits: Sequence[np.ndarray]) -> dict[int, torch.Tensor]:
        posteriors = {}
        for k, ids in enumerate(self.tokenizer.task_ids):
            if ids:
                position = next(position for position, index in enumerate(said) if index in ids)
                posteriors[k] = torch.from_numpy(logits[position][ids].astype(np.float32)).log_softmax(-1)
        return posteriors
