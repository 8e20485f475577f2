"""The text normaliser that Whisper's published word error rates are computed with."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from whisper_er.errors import UserError

TextNormalizer = Callable[[str], str]


def read_spelling(path: Path) -> dict[str, str]:
    """British -> American spellings, the `normalizer.json` beside Whisper's tokenizer; empty without one."""
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); copy normalizer.json anew from the Whisper model") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise UserError(f"{path}: not a table word -> word; copy normalizer.json anew from the Whisper model")
    return table


def text_normalizer(language: str, spelling: Mapping[str, str]) -> TextNormalizer:
    """The English normaliser with this spelling table for "en", the basic one for every other language.

    The result has no white space at its ends and single spaces between words; it may be empty ("Mm-hmm.").
    """
    normalize = EnglishTextNormalizer(spelling) if language == "en" else BasicTextNormalizer()
    return lambda text: " ".join(normalize(text).split())
