"""How a text becomes the words that a word error rate counts, one way per convention."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import regex

from whisper_er.text.orthography import characters, is_spaced, lower

# A word, or a run of one punctuation mark. A word keeps its apostrophes and hyphens, a number its marks: 3.5, 10:30.
WORD_OR_MARK = regex.compile(r"(?:[^\s\p{P}]|(?<=[^\s\p{P}])['’‐-](?=[^\s\p{P}])|(?<=\d)[.,:](?=\d))+|(\p{P})\1*")


@dataclass(frozen=True)
class Text:
    """A transcript. normalized: by Whisper's normaliser of the language, single spaces between words."""

    written: str
    normalized: str
    language: str


@dataclass(frozen=True)
class Writing:
    """The language of the texts, and Whisper's normaliser for it."""

    language: str
    normalize: Callable[[str], str]

    def text(self, written: str) -> Text:
        return Text(written, self.normalize(written), self.language)


@dataclass(frozen=True)
class Convention:
    """about: for the tables of results; words: a text -> its words.

    Where a language is written without spaces, each character is a word, except in what is compared as written.
    """

    about: str
    words: Callable[[Text], list[str]]


def lower_unpunctuated(text: Text) -> list[str]:
    kept = regex.sub(r"\p{P}", "", lower(text.written, text.language))
    return units(unicodedata.normalize("NFC", kept).split(), text.language)


def with_marks(text: Text) -> list[str]:
    found = WORD_OR_MARK.finditer(unicodedata.normalize("NFC", text.written))
    return units([match.group() for match in found], text.language)


def as_published(text: Text) -> list[str]:
    """By Whisper's normaliser as it is; `normalized` differs at combining marks and at a Turkish i. English: as far as
    the model brought the spelling table, which one trained from scratch has not."""
    if text.language == "en":
        return text.normalized.split()
    from whisper_er.text.normalizer import published_normalizer  # here: it brings transformers

    return published_normalizer(text.language)(text.written).split()


def units(words: Iterable[str], language: str) -> list[str]:
    return list(words) if is_spaced(language) else [character for word in words for character in characters(word)]


# By the name of its figure in result.json. A new one is a line here and a figure of TextFigures in score/figures.py.
CONVENTIONS = {
    "wer": Convention("Whisper's normaliser, combining marks kept", lambda text: text.normalized.split()),
    "wer_raw": Convention("as written", lambda text: text.written.split()),
    "wer_lower": Convention("lower case, punctuation deleted", lower_unpunctuated),
    "wer_marks": Convention("case kept, punctuation marks are words", with_marks),
    "wer_published": Convention(
        "Whisper's normaliser as published, for comparison with published rates; English without its spelling table "
        "where the model has no normalizer.json",
        as_published,
    ),
    "cer": Convention(
        "characters after Whisper's normaliser, without spaces",
        lambda text: characters(text.normalized.replace(" ", "")),
    ),
}
