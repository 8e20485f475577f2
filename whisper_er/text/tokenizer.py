"""Values <-> token ids: Whisper's vocabulary or a SentencePiece model's, extended by the tasks' tokens.

A target is built by concatenating ids and read back by id, never through strings: Whisper's own tokenizer is not told
of the added tokens, so a transcript that happens to contain `<|happy|>` stays text.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import sentencepiece
from transformers import GenerationConfig, WhisperConfig, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_er.base.errors import UserError
from whisper_er.base.hub import load_pretrained
from whisper_er.base.plain_files import parse_json, read_plain
from whisper_er.task import Task
from whisper_er.text.token_list import LIST_FILE, TokenList, read_token_list

UNLEARNED = -1
SUPPRESSED_FILE = "suppressed.json"
START, END = "<|startoftranscript|>", "<|endoftext|>"


class Suppressed(NamedTuple):
    """Token ids that Whisper's generation config forbids: always (symbols that are not speech), and as first token."""

    always: tuple[int, ...]
    first: tuple[int, ...]


NOTHING_SUPPRESSED = Suppressed((), ())


class TextTokens(Protocol):
    """Text <-> ids of a base vocabulary.

    prefix: ids that open every sequence and are not learned; end: id of <|endoftext|>;
    num_text: ids below it are text; size: length of the base vocabulary, where the added tokens start.
    """

    prefix: list[int]
    end: int
    num_text: int
    size: int
    multilingual: bool
    suppressed: Suppressed

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def find(self, token: str) -> int | None: ...
    def save(self, directory: Path) -> None: ...


class WhisperTokens:
    """Whisper's byte-level BPE. The prefix is <|startoftranscript|><|en|><|transcribe|><|notimestamps|>."""

    def __init__(
        self,
        tokenizer: WhisperTokenizer,
        size: int,
        language: str,
        multilingual: bool = True,
        suppressed: Suppressed = NOTHING_SUPPRESSED,
    ) -> None:
        self.tokenizer, self.size, self.multilingual, self.suppressed = tokenizer, size, multilingual, suppressed
        self.vocabulary = tokenizer.get_vocab()
        # Of tokenizers, beneath that of transformers, which takes 97 microseconds a text instead of 39.
        self.backend = tokenizer.backend_tokenizer
        self.backend.no_truncation()
        self.backend.no_padding()
        self.end = self.num_text = self.vocabulary[END]
        self.prefix = self.prefix_in(language)

    def prefix_in(self, language: str) -> list[int]:
        # The English-only checkpoints were trained without language and task.
        spoken = [f"<|{language}|>", "<|transcribe|>"] if self.multilingual else []
        names = [START, *spoken, "<|notimestamps|>"]
        missing = [name for name in names if name not in self.vocabulary]
        if missing or (self.multilingual and language not in LANGUAGES):  # lang=translate would name another token
            what = f"Whisper's vocabulary has no {' '.join(missing)}" if missing else "not a language of Whisper's"
            raise UserError(f"lang={language}: {what}; use a code such as en")
        return [self.vocabulary[name] for name in names]

    def encode(self, text: str) -> list[int]:
        # In Whisper's training every first word had a space before it.
        ids = self.backend.encode(f" {text}", add_special_tokens=False).ids
        if any(index >= self.num_text for index in ids):
            raise UserError(f"text: '{text}' contains one of Whisper's special tokens; remove it from the transcript")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False).strip()

    def find(self, token: str) -> int | None:
        return self.vocabulary.get(token)

    def save(self, directory: Path) -> None:
        self.tokenizer.save_pretrained(directory / "tokenizer")
        # save_pretrained leaves out the spellings that WER's normaliser folds.
        spellings = json.dumps(self.tokenizer.english_spelling_normalizer or {}, indent=0)
        (directory / "tokenizer" / "normalizer.json").write_text(spellings + "\n", encoding="utf-8")
        (directory / SUPPRESSED_FILE).write_text(json.dumps(self.suppressed._asdict()) + "\n", encoding="utf-8")


class SentencePieceTokens:
    """A SentencePiece model trained on the corpus, for models from scratch. The prefix is <|startoftranscript|>."""

    multilingual = False
    suppressed = NOTHING_SUPPRESSED

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.num_text = self.pieces.get_piece_size()
        self.end, start = self.num_text, self.num_text + 1
        self.size = self.num_text + 2
        self.prefix = [start]

    def encode(self, text: str) -> list[int]:
        return self.pieces.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.pieces.decode(list(ids)).strip()

    def find(self, token: str) -> int | None:
        index = self.pieces.piece_to_id(token)
        return None if index == self.pieces.unk_id() else index

    def save(self, directory: Path) -> None:
        (directory / "bpe.model").write_bytes(self.model)


class NoText:
    """No text: the vocabulary is the labels. For encoders without a decoder, and models from scratch without text."""

    multilingual = False
    suppressed = NOTHING_SUPPRESSED
    prefix, end, num_text, size = [1], 0, 0, 2

    def encode(self, text: str) -> list[int]:
        raise UserError("token_type=none has no text: leave asr out of the tasks, or choose whisper or bpe")

    def decode(self, ids: Sequence[int]) -> str:
        return ""

    def find(self, token: str) -> int | None:
        return None

    def save(self, directory: Path) -> None:
        """There is nothing to save."""


class Tokenizer:
    """The extended vocabulary: base ids first and unchanged, then the tokens of each task in order.

    Attributes: tasks, in the order of the target; task_ids[k], the ids of task k's labels (empty for text);
    size, entries in all.
    """

    def __init__(self, text: TextTokens, tasks: Sequence[Task], token_type: str, language: str) -> None:
        self.text, self.tasks, self.token_type, self.language = text, tuple(tasks), token_type, language
        self.prefix, self.end = text.prefix, text.end
        owner: dict[str, str] = {}
        self.task_ids: list[list[int]] = []
        for task in self.tasks:
            for token in task.tokens:
                holder = f"task '{owner[token]}'" if token in owner else "the base vocabulary"
                if token in owner or text.find(token) is not None:
                    raise UserError(
                        f"task '{task.name}': its token {token} is already a token of {holder}; rename the label"
                    )
                owner[token] = task.name
            first = text.size + sum(len(ids) for ids in self.task_ids)
            self.task_ids.append(list(range(first, first + len(task.labels))))
        self.size = text.size + len(owner)

    def prefix_in(self, language: str) -> list[int]:
        """The prefix with the token of another language; "": as it is. UserError where it has none."""
        if not language:
            return self.prefix
        if not isinstance(self.text, WhisperTokens) or not self.text.multilingual:
            raise UserError(f"lang={language}: the prefix of this vocabulary names no language; leave lang empty")
        return self.text.prefix_in(language)

    def encode(self, values: dict[str, str], draw: int = 0) -> tuple[list[int], list[int]]:
        """Target of an utterance: token ids and, for each, the position of its task, or UNLEARNED.

        values: task name -> label or text; "" is "no label". A category without a label keeps its place, so that
        later tokens are learned at their places in decoding: the decoder reads the `draw`-th label and learns nothing.
        <|endoftext|> belongs to the last task (paper, eq. 6) and is left out with it. An empty text as the only task
        is a target of <|endoftext|> alone (eq. 5, I = 1): a table has no sign for a transcript that is missing.
        """
        ids: list[int] = []
        owners: list[int] = []
        for k, task in enumerate(self.tasks):
            value, owner = values[task.name], k
            if task.kind == "text":
                tokens = self.text.encode(value) if value else []
            elif value:
                tokens = [self.task_ids[k][task.index(value)]]
            else:
                tokens, owner = [self.task_ids[k][draw % len(task.labels)]], UNLEARNED
            only_text = task.kind == "text" and len(self.tasks) == 1
            if (value or only_text) and k == len(self.tasks) - 1:
                tokens = [*tokens, self.end]
            ids += tokens
            owners += [owner] * len(tokens)
        while owners and owners[-1] == UNLEARNED:
            ids.pop(), owners.pop()
        return ids, owners

    def decode_text(self, ids: Sequence[int]) -> str:
        """The text among the ids; task tokens and special tokens are not text."""
        text = self.text.decode([index for index in ids if index < self.text.num_text])
        return " ".join(text.split())  # a line break among the tokens would not fit into a table

    def save(self, directory: Path) -> None:
        """Write token_list.yaml and the base tokenizer into an existing directory."""
        self.text.save(directory)
        TokenList(self.token_type, self.language, self.text.multilingual, self.text.size, self.tasks).write(directory)


def load_tokenizer(directory: Path) -> Tokenizer:
    """Read the files of Tokenizer.save; UserError where they are broken or do not fit each other."""
    token_list = read_token_list(directory)
    if token_list.token_type == "bpe":
        text: TextTokens = read_sentencepiece(Path(directory) / "bpe.model")
    elif token_list.token_type == "none":
        text = NoText()
    else:
        hf = read_whisper_tokenizer(Path(directory) / "tokenizer")
        path = Path(directory) / SUPPRESSED_FILE
        shape = {"always": [int], "first": [int]}
        lists = read_plain(parse_json, path, shape, "the suppressed tokens", "run stage 2 again")
        if not all(0 <= index < token_list.base_size for kind in shape for index in lists[kind]):
            raise UserError(f"{path}: suppresses a token that the vocabulary does not have; run stage 2 again")
        suppressed = Suppressed(*(tuple(lists[kind]) for kind in shape))
        text = WhisperTokens(hf, token_list.base_size, token_list.language, token_list.multilingual, suppressed)
    if text.size != token_list.base_size:
        raise UserError(
            f"{directory}: {LIST_FILE} extends {token_list.base_size} tokens, but the vocabulary beside it has "
            f"{text.size}; run stage 2 again"
        )
    return Tokenizer(text, token_list.tasks, token_list.token_type, token_list.language)


def read_sentencepiece(path: Path) -> SentencePieceTokens:
    try:
        return SentencePieceTokens(path.read_bytes())
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read as a SentencePiece model ({error}); run stage 2 again") from None


def read_whisper_tokenizer(path: Path) -> WhisperTokenizer:
    try:
        return WhisperTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # all that tokenizers raises; none of our code runs here
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read as Whisper's tokenizer ({reason}); run stage 2 again") from None


def from_whisper(whisper_model: str, language: str) -> WhisperTokens:
    """Whisper's tokenizer from a directory or the hub; its size is the larger of tokenizer and embedding."""
    tokenizer = load_pretrained(WhisperTokenizer, whisper_model)
    config = load_pretrained(WhisperConfig, whisper_model)
    if config.model_type != "whisper":
        raise UserError(f"whisper_model '{whisper_model}' is a {config.model_type} model; give a Whisper model")
    try:
        generation = load_pretrained(GenerationConfig, whisper_model)
    except UserError:  # a directory may lack this file; the multilingual models are the rule
        generation = config
    multilingual = getattr(generation, "is_multilingual", True)
    lists = (getattr(generation, f"{kind}suppress_tokens", None) or () for kind in ("", "begin_"))
    size = max(len(tokenizer), config.vocab_size)
    suppressed = Suppressed(*(tuple(index for index in ids if 0 <= index < size) for ids in lists))
    return WhisperTokens(tokenizer, size, language, multilingual, suppressed)


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
