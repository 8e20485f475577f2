"""A Whisper-ER that CTranslate2 runs: our features and grammar around its encoder, decoder and beam search.

CTranslate2 takes no mask, so only utterances with the same number of frames go through it together. Its search knows
no grammar: of a malformed hypothesis the well-formed prefix is kept, and missing labels are the model's most probable
ones after it. Posteriors are given the best hypothesis; there are none over its beam.
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
from whisper_er.models.seq2seq import longest_targets, prefixes, to_prediction
from whisper_er.search.beam import Hypothesis
from whisper_er.task import Prediction
from whisper_er.text.grammar import StrictGrammar
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import DETECT

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


def prompt_of(tokenizer: Tokenizer, prefix: list[int] | None = None) -> list[int]:
    """The prompt (token ids) that stands for a prefix, without one for the tokenizer's, in CTranslate2.

    It applies Whisper's rules on timestamps unless a prompt ends with <|notimestamps|>; where the vocabulary has none,
    it takes <|endoftext|> for it, and for <|startoftranscript|> as well. So a prefix without <|notimestamps|> becomes
    <|endoftext|>: converting has set its row of the input embedding, which no target reads, to that of the start.
    """
    prefix = prefix or tokenizer.prefix
    if prefix[-1] == tokenizer.text.find(TIMESTAMPS_OFF):
        return list(prefix)
    assert len(prefix) == 1
    return [tokenizer.end]


class CTranslate2Whisper:
    """A Predictor. completed: number of hypotheses so far that lacked a label at its place."""

    family = "CTranslate2"

    def __init__(self, directory: Path, tokenizer: Tokenizer, pad: PadRule, max_target: int) -> None:
        self.directory, self.tokenizer, self.max_target = directory, tokenizer, max_target
        self.grammar, self.prompt_length = StrictGrammar(tokenizer), len(prompt_of(tokenizer))
        self.completed = 0
        self.engine = self.load(torch.device("cpu"))
        self.logmel = LogMel(self.engine.n_mels, pad)

    def load(self, device: torch.device) -> Any:
        """CTranslate2's model on the device; UserError where it cannot read the directory."""
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
            remedy = "convert it again" if device.type == "cpu" else f"give cpu, or a device other than {device}"
            raise UserError(f"{self.directory}: CTranslate2 cannot read it ({reason}); {remedy}") from None

    def to(self, device: torch.device) -> "CTranslate2Whisper":
        if (device.type, device.index or 0) != (self.engine.device, self.engine.device_index[0]):
            self.engine = self.load(device)
        self.logmel.to(device)
        return self

    def pack(self) -> None:
        """Nothing to do: converting has laid the weights out."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """None: CTranslate2 keeps them."""
        return iter(())

    def check(self, config: DecodeConfig) -> None:
        if config.search != "beam":
            raise UserError(
                f"search={config.search}: a CTranslate2 model has a beam search of its own; set search=beam"
            )
        if config.teacher_forced:
            raise UserError("teacher_forced: a CTranslate2 model reads no references; leave teacher_forced at false")
        if config.suppress != "none":
            raise UserError(f"suppress={config.suppress}: a CTranslate2 model suppresses nothing; set suppress=none")
        if config.grammar != "strict":
            raise UserError(f"grammar={config.grammar}: a CTranslate2 model gives every label; set grammar=strict")
        if config.decide != "best":
            raise UserError(
                f"decide={config.decide}: a CTranslate2 model has no posterior over its beam; set decide=best"
            )
        if config.lang == DETECT:
            raise UserError(f"lang={config.lang}: a CTranslate2 model does not find out the language; name it")
        if config.dtype != "float32":
            raise UserError(
                f"dtype={config.dtype}: a CTranslate2 model computes in what it was converted to; leave "
                "dtype at float32"
            )
        self.tokenizer.check_language(config.lang)

    @torch.no_grad()
    def predict(self, batch: Batch, config: DecodeConfig) -> list[Prediction]:
        self.check(config)
        if batch.context_B is not None:
            raise UserError("context: a CTranslate2 model reads no turns before an utterance; decode by the experiment")
        mel_BFN, frames_B = self.logmel(batch.wave_BS, batch.samples_B)
        positions = self.max_target - self.prompt_length
        longest_B = longest_targets(self.grammar, batch.samples_B, config.maxlenratio, positions)
        predictions: dict[int, Prediction] = {}
        prefix_BL = prefixes(batch, self.tokenizer, config.lang).cpu()
        alike_BX = torch.cat([frames_B[:, None], longest_B[:, None], prefix_BL], dim=1)  # equal rows go together
        for alike in alike_BX.unique(dim=0):
            frames, longest, *prefix = alike.tolist()
            rows = (alike_BX == alike).all(1).nonzero()[:, 0].tolist()
            mel = mel_BFN[rows, :, :frames].float().cpu().contiguous().numpy()
            prompt = prompt_of(self.tokenizer, prefix)
            for row, hypothesis in zip(rows, self.search(mel, longest, prompt, config)):
                predictions[row] = to_prediction(self.tokenizer, batch.utt_ids[row], hypothesis, "best")
        return [predictions[row] for row in range(len(batch))]

    def search(self, mel_BFN: np.ndarray, longest: int, prompt: list[int], config: DecodeConfig) -> list[Hypothesis]:
        """The best hypothesis of each utterance, with all labels. mel_BFN: float32, without padding."""
        encoded = import_ctranslate2().StorageView.from_array(mel_BFN)
        # It takes states for features where they have as many frames as features have bins (1.6 s for 80).
        if mel_BFN.shape[2] // 2 != mel_BFN.shape[1]:
            encoded = self.engine.encode(encoded)
        results = self.engine.generate(
            encoded, [prompt] * len(mel_BFN), beam_size=config.beam_size, length_penalty=config.length_penalty,
            patience=PATIENCE, no_repeat_ngram_size=config.no_repeat_ngram_size,
            max_length=self.max_length(longest), return_scores=True, suppress_blank=False, suppress_tokens=[],
        )  # fmt: skip
        sequences = [result.sequences_ids[0] for result in results]
        prefixes, states = zip(*(self.well_formed(ids, longest) for ids in sequences))
        labelled, log_posteriors = self.label(encoded, prompt, prefixes, states)
        hypotheses = []
        for result, ids, prefix, tokens, posterior in zip(results, sequences, prefixes, labelled, log_posteriors):
            self.completed += len(tokens) > len(prefix)
            # Text after the first fault is kept, as far as there is room for it.
            text = [index for index in ids[len(prefix) :] if index < self.tokenizer.text.num_text]
            text = text[: max(0, longest - len(tokens) - 1)]
            whole = [*tokens, *text, self.tokenizer.end]
            hypotheses.append(Hypothesis(whole, result.scores[0], posterior, posterior, len(whole) >= longest))
        return hypotheses

    def max_length(self, tokens: int) -> int:
        """For this number of tokens: CTranslate2 takes half of it, or what the prompt but its last token leaves."""
        return max(2 * tokens, tokens + self.prompt_length - 1)

    def well_formed(self, ids: Sequence[int], longest: int) -> tuple[list[int], int]:
        """The longest prefix that the grammar allows and can finish within `longest` tokens, and the state after it."""
        state = torch.zeros(1, dtype=torch.long)
        for position, index in enumerate(ids):
            if not self.grammar.mask(state, torch.tensor([longest - position]))[0, index]:
                return list(ids[:position]), int(state)
            state = self.grammar.next_QV[state, index]
        return list(ids), int(state)

    def label(
        self, encoded: Any, prompt: list[int], prefixes: Sequence[Sequence[int]], states: Sequence[int]
    ) -> tuple[list[list[int]], list[dict[int, torch.Tensor]]]:
        """Append the most probable of each missing category's labels; returns the ids, and the posteriors along them.

        prefixes: ids of each utterance, which lead to `states` of the grammar. A round per label runs the model on all.
        """
        sequences, states = [list(ids) for ids in prefixes], list(states)
        while True:
            logits = self.logits_along(encoded, prompt, sequences)
            next_tasks = [int(self.grammar.category_Q[state]) for state in states]
            if all(k < 0 for k in next_tasks):
                return sequences, [self.posteriors(ids, steps) for ids, steps in zip(sequences, logits)]
            for row, k in enumerate(next_tasks):
                if k >= 0:
                    ids_C = self.tokenizer.task_ids[k]
                    token = ids_C[int(np.argmax(logits[row][len(sequences[row])][ids_C]))]
                    states[row] = int(self.grammar.next_QV[states[row], token])
                    # A text that should follow is left out: the next label is appended at once.
                    sequences[row].append(token)

    def logits_along(
        self, encoded: Any, prompt: list[int], sequences: Sequence[Sequence[int]]
    ) -> list[list[np.ndarray]]:
        """Per utterance the logits (V,) before each of its tokens and after the last.

        Only greedy search returns logits; it takes ids after the prompt as already decoded.
        """
        results = self.engine.generate(
            encoded, [[*prompt, *ids] for ids in sequences], beam_size=1,
            max_length=self.max_length(max(map(len, sequences)) + 1), return_logits_vocab=True, suppress_blank=False,
            suppress_tokens=[],
        )  # fmt: skip
        return [[np.array(step).reshape(-1) for step in result.logits[0]] for result in results]

    def posteriors(self, sequence: Sequence[int], logits: Sequence[np.ndarray]) -> dict[int, torch.Tensor]:
        """Task position -> log posterior (C,) where its label stands. logits: (V,) before each token."""
        posteriors = {}
        for k, ids in enumerate(self.tokenizer.task_ids):
            if ids:
                position = next(position for position, index in enumerate(sequence) if index in ids)
                posteriors[k] = torch.from_numpy(logits[position][ids].astype(np.float32)).log_softmax(-1)
        return posteriors
