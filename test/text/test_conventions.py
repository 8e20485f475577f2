"""What each convention counts as words, and Whisper's normaliser per language beside transformers'."""

import unicodedata

import jiwer
import pytest
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from whisper_er.text.conventions import CONVENTIONS, Writing
from whisper_er.text.normalizer import text_normalizer

ENGLISH = [
    "Mm-hmm.", "It's twenty-five dollars, isn't it?", " The  Colour [LAUGHTER] of (uh) money...", "Oh, $3.50!", "",
    "Mr. O'Neil won't come at 10:30 -- I'd've told you", "naïve café", "hmm", "one oh one",
]  # fmt: skip
BASIC = {
    "de": ["Über den Fluß, „Größe“ – isn't!", "U\u0308ber <b> [x] (y) 3,5 %", "ÄÖÜ ẞ"],
    "fr": ["L'été, ça va ?", "ŒUVRE"],
    "ru": ["Ёлка — зелёная.", "Й"],
    "zh": ["你好，世界。 3.5 ABC", "ＡＢＣ"],
    "ja": ["「がんばって」、さあ！", "ﾊﾟﾝ か\u3099"],
    "yue": ["你哋好。"],
    "ko": ["안녕하세요, 반가워요!"],
}


def words(name: str, text: str, language: str = "en") -> list[str]:
    return CONVENTIONS[name].words(Writing(language, text_normalizer(language, {})).text(text))


def spoken(name: str, text: str, language: str = "en") -> str:
    return "|".join(words(name, text, language))


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_normalised_as_by_whisper(text):
    spelling = {"colour": "color"}
    assert text_normalizer("en", spelling)(text) == " ".join(EnglishTextNormalizer(spelling)(text).split())


@pytest.mark.parametrize("language, text", [(language, text) for language, texts in BASIC.items() for text in texts])
def test_a_language_without_combining_marks_is_normalised_as_by_whisper(language, text):
    whisper = BasicTextNormalizer(split_letters=language in ("zh", "ja", "yue"))
    assert text_normalizer(language, {})(text) == " ".join(whisper(text).split())


@pytest.mark.parametrize("language, text, expected", [
    ("hi", "हिन्दी में, बोलो।", "हिन्दी में बोलो"),
    ("ta", "தமிழ் மொழி!", "தமிழ் மொழி"),
    ("ar", "مَرْحَبًا، كيف؟", "مَرْحَبًا كيف"),
    ("th", "ที่นี่ดี", "ที่ นี่ ดี"),
    ("km", "ខ្ញុំ​ទៅ", "ខ្ញុំ​ទៅ"),
    ("tr", "İstanbul'da IŞIK, Iğdır.", "istanbul da ışık ığdır"),
    ("tr", unicodedata.normalize("NFD", "İYİ"), "iyi"),
    ("az", "İNDİ", "indi"),
    ("de", "IST", "ist"),
    ("hi", "❤\ufe0f ठीक", "ठीक"),
])  # fmt: skip
def test_combining_marks_and_the_dotless_i_break_no_word_apart(language, text, expected):
    assert text_normalizer(language, {})(text) == expected


@pytest.mark.parametrize("text, expected", [
    ("Really good.", "Really|good|."),
    ("Mm-hmm.", "Mm-hmm|."),
    ("Wait... it's $3.50, isn't it?!", "Wait|...|it's|$3.50|,|isn't|it|?|!"),
    ("'Yes' -- at 10:30", "'|Yes|'|--|at|10:30"),
    ("Really good .", "Really|good|."),
    ("", ""),
])  # fmt: skip
def test_punctuation_marks_are_words(text, expected):
    assert spoken("wer_marks", text) == expected


@pytest.mark.parametrize("name, language, text, expected", [
    ("wer", "en", "Mm-hmm. I'm forty-two", "i|am|42"),
    ("wer_raw", "en", " Mm-hmm.  I'm", "Mm-hmm.|I'm"),
    ("wer_raw", "zh", "你好，世界。 3.5", "你好，世界。|3.5"),
    ("wer_lower", "en", "Mm-hmm. I'm at $5 - OK?", "mmhmm|im|at|$5|ok"),
    ("wer_lower", "de", "„Größe“ – U\u0308ber!", "größe|über"),
    ("wer_lower", "hi", "हिन्दी, में।", "हिन्दी|में"),
    ("wer_lower", "tr", "İyi IŞIK.", "iyi|ışık"),
    ("wer_lower", "zh", "你好，世界。 3.5", "你|好|世|界|3|5"),
    ("wer_lower", "th", "กำลัง ที่", "กำ|ลั|ง|ที่"),
    ("wer_marks", "ja", "さあ、「行く」！", "さ|あ|、|「|行|く|」|！"),
    ("wer_marks", "hi", "हिन्दी में, बोलो।", "हिन्दी|में|,|बोलो|।"),
    ("wer_marks", "de", "Geht's? „Ja“", "Geht's|?|„|Ja|“"),
    # From the cases of Whisper's own tests, and from what its paper (appendix C) says of other languages.
    ("wer_published", "en", "he's like", "he|is|like"),
    ("wer_published", "en", "Mr. Park, Assoc. Prof. Kim Jr.", "mister|park|associate|professor|kim|junior"),
    ("wer_published", "en", "thirty three thousand and three hundred and thirty third", "33333rd"),
    ("wer_published", "en", "two dollars and seventy cents", "$2.70"),
    ("wer_published", "zh", "（笑）今天[音乐]很好。ＡＢ", "笑|今|天|很|好|a|b"),
    ("wer_published", "ja", "か\u3099んばって", "が|ん|ば|っ|て"),
    ("wer_published", "hi", "हिन्दी में।", "ह|न|द|म"),
    ("wer_published", "ta", "தமிழ்", "தம|ழ"),
    ("wer_published", "th", "ที่นี่ดี", "ท|น|ด"),
    ("wer_published", "my", "မြန်မာ", "မ|န|မ"),
    ("wer_published", "he", "שָׁלוֹם", "ש|לו|ם"),
    ("wer_published", "ar", "١٢ مَرحبا", "١٢|م|رحبا"),
    ("wer_published", "fa", "می\u200cروم", "می\u200cروم"),
    ("wer_published", "tr", "İyi IŞIK", "i|yi|işik"),
    ("wer_published", "vi", "Tie\u0302\u0301ng", "tiếng"),
    ("cer", "en", "Oh no, I'm", "0|n|o|i|a|m"),
    ("cer", "hi", "हिन्दी में", "हि|न्दी|में"),
    ("cer", "zh", "你好，世界。", "你|好|世|界"),
])  # fmt: skip
def test_a_text_becomes_words(name, language, text, expected):
    assert spoken(name, text, language) == expected


def test_characters_are_the_words_of_the_main_figure_without_spaces():
    for language, text in (("zh", "你好，世界。"), ("th", "ที่นี่ดี"), ("my", "မြန်မာ")):
        assert words("wer", text, language) == words("cer", text, language)
        assert len(words("wer", text, language)) > 1


@pytest.mark.parametrize("text", ENGLISH + BASIC["de"][:1] + BASIC["fr"])
def test_lower_case_without_punctuation_is_that_of_jiwer(text):
    steps = [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.ReduceToListOfListOfWords()]
    assert words("wer_lower", text) == [word for word in jiwer.Compose(steps)([text])[0] if word]
