"""How a language is written: spaces between words, characters, lower case, spellings."""

import unicodedata
from pathlib import Path

import regex

from whisper_er.base.plain_files import parse_json, read_plain

# Those that Whisper splits at characters (split_to_word_tokens in openai/whisper, whisper/tokenizer.py). Khmer and
# Tibetan have no spaces between words either, but Whisper counts them by what white space separates.
WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "yue")
DOTTED_AND_DOTLESS = str.maketrans("İI", "iı")


def read_spelling(path: Path) -> dict[str, str]:
    """British -> American spellings, the `normalizer.json` beside Whisper's tokenizer; empty without one."""
    if not path.is_file():
        return {}
    remedy = "copy normalizer.json anew from the Whisper model"
    return read_plain(parse_json, path, {str: str}, "a table word -> word", remedy)


def is_spaced(language: str) -> bool:
    """Whether white space separates words."""
    return language not in WITHOUT_SPACES


def characters(text: str) -> list[str]:
    """As a reader sees them: a letter with its combining marks is one."""
    return regex.findall(r"\X", text)


def lower(text: str, language: str) -> str:
    """Lower case; Turkish and Azerbaijani have two letters i, with a dot and without."""
    if language in ("tr", "az"):
        text = unicodedata.normalize("NFC", text).translate(DOTTED_AND_DOTLESS)
    return text.lower()


def keep_letters(text: str) -> str:
    """White space in place of symbols and punctuation; the combining marks of a letter stay with it."""
    return regex.sub(r"[\p{S}\p{P}]\p{M}*", " ", unicodedata.normalize("NFKC", text))
