"""The text normaliser of Whisper's published word error rates, and ours, which breaks no word apart."""

import functools
from collections.abc import Callable, Mapping

from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from whisper_er.text.orthography import is_spaced, keep_letters, lower

TextNormalizer = Callable[[str], str]


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


@functools.cache
def published_normalizer(language: str) -> TextNormalizer:
    """Of a language other than English, as Whisper's paper has it (appendix C): a space in place of combining marks,
    too, and between the letters of a language without spaces, whose WER is thereby a CER."""
    return BasicTextNormalizer(split_letters=not is_spaced(language))
