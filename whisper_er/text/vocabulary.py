"""Text <-> token ids of a base vocabulary, which the tasks' tokens extend; those of models from scratch.

Whisper's own is in whisper_vocabulary.py, since it needs transformers.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import sentencepiece

from whisper_er.base.errors import UserError

START, END = "<|startoftranscript|>", "<|endoftext|>"
PREVIOUS = "<|startofprev|>"  # opens what was said before, in front of <|startoftranscript|>
DETECT = "auto"  # in place of a language: the one that the decoder finds likeliest


class Suppressed(NamedTuple):
    """Token ids that Whisper's generation config forbids: always (symbols that are not speech), and as first token."""

    always: tuple[int, ...]
    first: tuple[int, ...]


NOTHING_SUPPRESSED = Suppressed((), ())


class TextTokens(Protocol):
    """Text <-> ids of a base vocabulary.

    prefix: ids that open every sequence and are not learned; end: id of <|endoftext|>;
    num_text: ids below it are text; size: length of the base vocabulary, where the added tokens start.
    encode: UserError for a text that holds a special token; encode_answer: of one that a model wrote, where it is text.
    """

    prefix: list[int]
    end: int
    num_text: int
    size: int
    multilingual: bool
    suppressed: Suppressed

    def encode(self, text: str) -> list[int]: ...
    def encode_answer(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def find(self, token: str) -> int | None: ...
    def prefix_in(self, language: str) -> list[int]: ...
    def language_ids(self) -> list[int]: ...
    def save(self, directory: Path) -> None: ...


class OneLanguage:
    """What the vocabularies of models from scratch share: their prefix names no language."""

    multilingual = False
    suppressed = NOTHING_SUPPRESSED
    prefix: list[int]

    def prefix_in(self, language: str) -> list[int]:
        return self.prefix

    def language_ids(self) -> list[int]:
        return []


class SentencePieceTokens(OneLanguage):
    """A SentencePiece model trained on the corpus, for models from scratch. The prefix is <|startoftranscript|>."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.num_text = self.pieces.get_piece_size()
        self.end, start = self.num_text, self.num_text + 1
        self.size = self.num_text + 2
        self.prefix = [start]

    def encode(self, text: str) -> list[int]:
        return self.pieces.encode(text)

    encode_answer = encode

    def decode(self, ids: Sequence[int]) -> str:
        return self.pieces.decode(list(ids)).strip()

    def find(self, token: str) -> int | None:
        index = self.pieces.piece_to_id(token)
        return None if index == self.pieces.unk_id() else index

    def save(self, directory: Path) -> None:
        (directory / "bpe.model").write_bytes(self.model)


class NoText(OneLanguage):
    """No text: the vocabulary is the labels. For encoders without a decoder, and models from scratch without text."""

    prefix, end, num_text, size = [1], 0, 0, 2

    def encode(self, text: str) -> list[int]:
        raise UserError("token_type=none has no text: leave asr out of the tasks, or choose whisper or bpe")

    encode_answer = encode

    def decode(self, ids: Sequence[int]) -> str:
        return ""

    def find(self, token: str) -> int | None:
        return None

    def save(self, directory: Path) -> None:
        """There is nothing to save."""


def read_sentencepiece(path: Path) -> SentencePieceTokens:
    try:
        return SentencePieceTokens(path.read_bytes())
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read as a SentencePiece model ({error}); run stage 2 again") from None


def train_sentencepiece(texts: Sequence[str], size: int) -> SentencePieceTokens:
    """Train a BPE model of `size` pieces on transcripts, in memory, so that it names no directory of this machine."""
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(f"bpe_size={size}: SentencePiece cannot train on these transcripts: {error}") from None
    return SentencePieceTokens(model.getvalue())
