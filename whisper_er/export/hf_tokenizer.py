"""The extended vocabulary as a tokenizer that transformers loads by itself, with the ids of the model.

Whisper's tokenizer is extended. For a SentencePiece model one is made of its pieces: both merge, of all neighbours, the
pair whose union stands first in the list of pieces.
"""

from collections.abc import Iterator
from typing import Any

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, WhisperTokenizer

from whisper_er.base.errors import UserError
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import END, START, SentencePieceTokens
from whisper_er.text.whisper_vocabulary import WhisperTokens

SPACE = "▁"  # SentencePiece writes a space so
UNKNOWN_SURFACE = " ⁇ "  # what SentencePiece decodes an unknown piece to


def to_hf_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    """The base vocabulary and the tasks' tokens, which are special: skip_special_tokens leaves the text alone.
    UserError for a vocabulary without text."""
    text = tokenizer.text
    if not isinstance(text, WhisperTokens | SentencePieceTokens):
        raise UserError(
            f"token_type={tokenizer.token_type}: transformers has no tokenizer for labels alone; leave stage 7 out, or "
            "train with token_type whisper or bpe"
        )
    hf = whisper_copy(text) if isinstance(text, WhisperTokens) else from_sentencepiece(text)
    hf.add_tokens([special(token) for task in tokenizer.tasks for token in task.tokens], special_tokens=True)
    for task, ids in zip(tokenizer.tasks, tokenizer.task_ids):
        assert hf.convert_tokens_to_ids(list(task.tokens)) == ids
    return hf


def special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)


def whisper_copy(text: WhisperTokens) -> WhisperTokenizer:
    """A copy with names for the embedding rows for which the tokenizer has no entry."""
    hf = WhisperTokenizer(
        tokenizer_object=tokenizers.Tokenizer.from_str(text.tokenizer.backend_tokenizer.to_str()),
        **text.tokenizer.init_kwargs,
    )
    hf.add_tokens([special(f"<|unused:{index}|>") for index in range(len(hf), text.size)], special_tokens=True)
    return hf


def from_sentencepiece(text: SentencePieceTokens) -> PreTrainedTokenizerFast:
    """The same pieces, ids, text normalisation and segmentation, then <|endoftext|> and <|startoftranscript|>."""
    pieces = text.pieces
    names = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]
    unknown = names[pieces.unk_id()]
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            {name: index for index, name in enumerate(names)}, merges(pieces), unk_token=unknown, fuse_unk=True
        )
    )
    charsmap = normalizer_spec(text.model).get(2, b"")
    steps = [normalizers.Precompiled(charsmap)] if charsmap else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace(unknown, UNKNOWN_SURFACE), decoders.Metaspace(SPACE, prepend_scheme="always")]
    )
    backend.add_special_tokens([special(END), special(START)])
    # Not unk_token: it would be special, and skipped where SentencePiece writes " ⁇ ".
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=END, bos_token=START)
    assert hf.convert_tokens_to_ids([END, START]) == [text.end, *text.prefix]
    return hf


def merges(pieces: sentencepiece.SentencePieceProcessor) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the pieces with the best score first."""
    names = [pieces.id_to_piece(index) for index in range(pieces.get_piece_size()) if index != pieces.unk_id()]
    names.sort(key=lambda name: -pieces.get_score(pieces.piece_to_id(name)))  # stable
    known = set(names)
    return [
        (name[:cut], name[cut:])
        for name in names
        for cut in range(1, len(name))
        if name[:cut] in known and name[cut:] in known
    ]


def normalizer_spec(model: bytes) -> dict[int, Any]:
    """The fields of SentencePiece's ModelProto.normalizer_spec; 2 is its table of replaced characters."""
    return dict(fields(dict(fields(model)).get(3, b"")))


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: bytes, or an int where it is one.

    google.protobuf would do the same but is no dependency. SentencePiece has parsed these bytes before: they are valid.
    """
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            value |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                return value

    while position < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
            continue
        size = {1: 8, 5: 4}.get(wire) or varint()
        yield number, message[position : position + size]
        position += size
