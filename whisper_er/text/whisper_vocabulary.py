"""Whisper's vocabulary: text <-> token ids by the tokenizer of transformers."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from transformers import GenerationConfig, WhisperConfig, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_er.base.errors import UserError
from whisper_er.base.hub import load_pretrained
from whisper_er.base.plain_files import misfit, parse_json, read_plain
from whisper_er.text.token_list import TokenList
from whisper_er.text.vocabulary import END, NOTHING_SUPPRESSED, START, Suppressed

TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # either, of a directory
SUPPRESSED_FILE = "suppressed.json"
SPELLED = re.compile(r"(?<=<)(?=\|)")  # within <|, which opens every special token


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

    def language_ids(self) -> list[int]:
        """Of the tokens of languages; none in the English-only vocabularies, which have them without a meaning."""
        tokens = (f"<|{language}|>" for language in LANGUAGES) if self.multilingual else ()
        return [self.vocabulary[token] for token in tokens if token in self.vocabulary]

    def encode(self, text: str) -> list[int]:
        # In Whisper's training every first word had a space before it.
        ids = self.backend.encode(f" {text}", add_special_tokens=False).ids
        if any(index >= self.num_text for index in ids):
            raise UserError(f"text: '{text}' contains one of Whisper's special tokens; remove it from the transcript")
        return ids

    def encode_answer(self, text: str) -> list[int]:
        """As `encode`, of a text that a model wrote: the letters of a special token in it are letters."""
        pieces = SPELLED.split(f" {text}")
        return [index for piece in pieces for index in self.backend.encode(piece, add_special_tokens=False).ids]

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


def read_whisper(directory: Path, token_list: TokenList) -> WhisperTokens:
    """Read the files of WhisperTokens.save; UserError where they are broken or do not fit the token list."""
    tokenizer = read_whisper_tokenizer(Path(directory) / "tokenizer")
    path = Path(directory) / SUPPRESSED_FILE
    shape = {"always": [int], "first": [int]}
    lists = read_plain(parse_json, path, shape, "the suppressed tokens", "run stage 2 again")
    if not all(0 <= index < token_list.base_size for kind in shape for index in lists[kind]):
        raise UserError(f"{path}: suppresses a token that the vocabulary does not have; run stage 2 again")
    suppressed = Suppressed(*(tuple(lists[kind]) for kind in shape))
    return WhisperTokens(tokenizer, token_list.base_size, token_list.language, token_list.multilingual, suppressed)


def read_whisper_tokenizer(path: Path) -> WhisperTokenizer:
    try:
        return WhisperTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # all that tokenizers raises; none of our code runs here
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read as Whisper's tokenizer ({reason}); run stage 2 again") from None


def whisper_config(whisper_model: str) -> WhisperConfig:
    """The configuration of a directory or of a model on the hub; UserError for another model than a Whisper."""
    config = load_pretrained(WhisperConfig, whisper_model)
    if config.model_type != "whisper":
        raise UserError(f"whisper_model '{whisper_model}' is a {config.model_type} model; give a Whisper model")
    return config


def from_whisper(whisper_model: str, language: str) -> WhisperTokens:
    """Whisper's tokenizer from a directory or the hub; its size is the larger of tokenizer and embedding."""
    config = whisper_config(whisper_model)
    tokenizer = load_pretrained(WhisperTokenizer, whisper_model, needs=TOKENIZER_FILES)
    generation = read_generation(whisper_model) or config
    multilingual = getattr(generation, "is_multilingual", True)
    lists = (getattr(generation, f"{kind}suppress_tokens", None) or () for kind in ("", "begin_"))
    size = max(len(tokenizer), config.vocab_size)
    suppressed = Suppressed(*(tuple(index for index in ids if 0 <= index < size) for ids in lists))
    return WhisperTokens(tokenizer, size, language, multilingual, suppressed)


def read_generation(whisper_model: str) -> GenerationConfig | None:
    """generation_config.json, which says whether a model is multilingual; None where there is none: the multilingual
    models are the rule. UserError for a file that is broken: an English-only model must not count as multilingual."""
    try:
        generation = load_pretrained(GenerationConfig, whisper_model)
    except UserError:
        if not (Path(whisper_model) / "generation_config.json").exists():
            return None
        problem = "it cannot be read"
    else:
        lists = {key: getattr(generation, key, None) or [] for key in ("suppress_tokens", "begin_suppress_tokens")}
        values = {"is_multilingual": getattr(generation, "is_multilingual", True), **lists}
        problem = misfit(values, {"is_multilingual": bool} | dict.fromkeys(lists, [int]))
    if problem:
        raise UserError(
            f"whisper_model '{whisper_model}': its generation_config.json is not one of Whisper's ({problem}); it says "
            "whether the model is English-only: copy it again from where the model is from"
        )
    return generation
