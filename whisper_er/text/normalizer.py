"""The text normaliser that Whisper's published word error rates are computed with."""

from collections.abc import Callable, Mapping
from pathlib import Path

from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from whisper_er.base.plain_files import parse_json, read_plain

TextNormalizer = Callable[[str], str]


def read_spelling(path: Path) -> dict[str, str]:
    """British -> American spellings, the `normalizer.json` beside Whisper's tokenizer; empty without one."""
    if not path.is_file():
        return {}
    remedy = "copy normalizer.json anew from the Whisper model"
    return read_plain(parse_json, path, {str: str}, "a table word -> word", remedy)


def text_normalizer(language: str, spelling: Mapping[str, str]) -> TextNormalizer:
    """The English normaliser with this spelling table for "en", the basic one for every other language.

    The result has no white space at its ends and single spaces between words; it may be empty ("Mm-hmm.").
    """
    normalize = EnglishTextNormalizer(spelling) if language == "en" else BasicTextNormalizer()
    return lambda text: " ".join(normalize(text).split())
