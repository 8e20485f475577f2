"""Words of a text, with the seconds in which they were spoken.

Axis: N tokens of the text and one more.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import regex

from whisper_er.base.errors import UserError
from whisper_er.batch import Batch
from whisper_er.models.base import Predictor
from whisper_er.models.seq2seq import WhisperER
from whisper_er.task import TEXT_TASK
from whisper_er.text.tokenizer import INCOMPLETE, Tokenizer
from whisper_er.timing.alignment import FRAME, attention_scores, first_frames
from whisper_er.timing.spans import Word

UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Myanmar}]")  # no spaces between words
SPOKEN = regex.compile(r"[^\p{P}\s]")  # a character that takes time to say


def check_words(model: Predictor) -> None:
    """UserError for a model that cannot say when its words were spoken."""
    if not any(task.kind == "text" for task in model.tokenizer.tasks):
        raise UserError(f"word times: the model has no task '{TEXT_TASK}' that writes words; leave them out")
    if not isinstance(model, WhisperER):
        raise UserError(f"word times: a {model.family} model shows no attention; open the experiment or its export")


def find_words(
    model: WhisperER, batch: Batch, values: Sequence[dict[str, str]], language: str
) -> list[tuple[Word, ...]]:
    """Words of each utterance, in seconds from its beginning.

    values: answers of every task, as in Prediction; language: as DecodeConfig.lang.
    """
    tokenizer, room = model.tokenizer, model.max_target - len(model.tokenizer.prefix)
    targets = [before_and_text(tokenizer, one) for one in values]
    scores = attention_scores(model, batch, [(before + text)[:room] for before, text in targets], language)
    found = []
    for (before, text), score_NT in zip(targets, scores):
        # The position that reads a token predicts the next one: the row of the first token stands before it, and the
        # last row, behind the text, begins where the last token ends. What has no position begins and ends there too.
        begin_N = first_frames(score_NT[len(tokenizer.prefix) + len(before) - 1 :]) * FRAME
        begin_N = np.pad(begin_N, (0, len(text) + 1 - len(begin_N)), mode="edge")
        found.append(to_words(text, begin_N, tokenizer))
    return found


def before_and_text(tokenizer: Tokenizer, values: dict[str, str]) -> tuple[list[int], list[int]]:
    """Token ids of the answers in front of the text, and of the text. values: as of find_words."""
    before: list[int] = []
    for task, ids in zip(tokenizer.tasks, tokenizer.task_ids):
        value = values[task.name]
        if task.kind == "text":
            return before, tokenizer.text.encode_answer(value) if value else []
        before.append(ids[task.index(value)])
    raise AssertionError("check_words has seen a text")


def to_words(ids: Sequence[int], begin_N: np.ndarray, tokenizer: Tokenizer) -> tuple[Word, ...]:
    """The words of a text whose tokens begin at these seconds; one more is where the last of them ends.

    A word ends with its last letter: what follows a punctuation mark is silence more often than not.
    """
    text, ends = "", []  # ends: number of characters that are complete with each token
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode_text(ids[:count])
        ends.append(max(len(text.rstrip(INCOMPLETE)), ends[-1] if ends else 0))
    words = []
    for start, end in word_spans(text, ends):
        letters = [match.start() for match in SPOKEN.finditer(text, start, end)] or [start, end - 1]
        first, last = np.searchsorted(ends, [letters[0], letters[-1]], side="right").clip(max=len(ids) - 1)
        words.append(Word(float(begin_N[first]), float(begin_N[last + 1]), text[start:end]))
    return tuple(words)


def word_spans(text: str, ends: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) in characters: what white space separates, and in a script without spaces what each token brings,
    with the punctuation around it."""
    pieces = []
    for match in regex.finditer(r"\S+", text):
        start, end = match.span()
        cuts = sorted({cut for cut in ends if start < cut < end}) if UNSPACED.search(match[0]) else []
        inner = [cut for cut in cuts if SPOKEN.match(text, cut) and SPOKEN.search(text, start, cut)]
        pieces += pairwise([start, *inner, end])
    return pieces


def apart(words: Sequence[Word], stretches: Sequence[tuple[float, float]]) -> tuple[Word, ...]:
    """Words that reach into no pause: each keeps to the stretch of speech that has most of it, and its neighbour gets
    what it had of another one. stretches: (start, end) in seconds, in order; a word in none of them stays as it is.

    Attention has no place in a pause, so that the path spends it on either of the words around it.
    """
    homes = [max(stretches, key=lambda stretch: shared(word, stretch), default=None) for word in words]
    homes = [home if home and shared(word, home) > 0 else (word.start, word.end) for word, home in zip(words, homes)]
    starts = [max(word.start, home[0]) for word, home in zip(words, homes)]
    ends = [min(word.end, home[1]) for word, home in zip(words, homes)]
    for i, (before, after) in enumerate(pairwise(words)):
        if homes[i][1] < homes[i + 1][0]:
            if after.start < homes[i][1]:
                ends[i] = homes[i][1]
            if before.end > homes[i + 1][0]:
                starts[i + 1] = homes[i + 1][0]
    return tuple(Word(round(start, 3), round(end, 3), word.text) for start, end, word in zip(starts, ends, words))


def shared(word: Word, stretch: tuple[float, float]) -> float:
    """Seconds that both have; negative where they are apart."""
    return min(word.end, stretch[1]) - max(word.start, stretch[0])
