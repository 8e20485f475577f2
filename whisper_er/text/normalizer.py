"""The text normaliser that Whisper's published word error rates are computed with."""

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import regex
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from whisper_er.base.plain_files import parse_json, read_plain

TextNormalizer = Callable[[str], str]

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


def text_normalizer(language: str, spelling: Mapping[str, str]) -> TextNormalizer:
    """The English normaliser with this spelling table for "en", the basic one for every other language.

    The basic one differs from Whisper's in two points that break words apart there: combining marks, such as the
    vowel signs of Hindi, are part of a word, and lower case is that of the language. Languages without either have
    the same result.

    The result has no white space at its ends and single spaces between words; it may be empty ("Mm-hmm.").
    """
    if language == "en":
        normalize = EnglishTextNormalizer(spelling)
        return lambda text: " ".join(normalize(text).split())
    normalize = BasicTextNormalizer(split_letters=not is_spaced(language))
    normalize.clean = keep_letters
    return lambda text: " ".join(normalize(lower(text, language)).split())
