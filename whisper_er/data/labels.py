"""Labels, speakers and languages of a data directory: their spelling, and whether the tasks and Whisper know them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.packed_strings import PackedStrings
from whisper_er.base.spelling import check_spelling, fold_case, twins
from whisper_er.task import MISSING, Task

if TYPE_CHECKING:
    from whisper_er.text.tokenizer import Tokenizer

SPEAKERS = ("utt2spk", "utt2speaker")  # tables of names of which case alone may tell two apart
LANGUAGE = "utt2lang"  # the language of each utterance, which chooses its prefix


def checked_labels(directory: Path, utt_ids: PackedStrings, column: PackedStrings, task: Task) -> PackedStrings:
    """The column; without the labels that an open task does not have, which are counted on standard output.

    UserError for a label that another task does not have; texts and missing labels pass.
    """
    if task.kind == "text":
        return column
    if task.open:
        known, unseen = PackedStrings(map(task.known, column)), sorted(set(column) - {"", *task.labels})
        if number := known.num_empty() - column.num_empty():
            what = f"{number} of {len(column)} utterances have a label that training lacks"
            names = dict.fromkeys(task.labels, "the training set") | dict.fromkeys(unseen, str(directory))
            check_spelling(f"{directory}: {task.name}", names, case=task.table not in SPEAKERS)
            print(f"{directory}: {task.name}: {what}: unlabelled ({first_few(unseen)})", flush=True)
        return known
    for value in sorted(set(column) - {""}):
        try:
            task.index(value)
        except UserError as error:
            first = next(utt_id for utt_id, other in zip(utt_ids, column) if other == value)
            raise UserError(f"{directory}: {first}: {error}") from None
    return column


def check_names(file: Path, table: Mapping[str, str]) -> None:
    """UserError for two spellings of one speaker or of one label. The numbers of a scale are no names: 1e-3, 1E-3."""
    names = {name: utt_id for utt_id, name in table.items()}
    if file.name in SPEAKERS:
        check_spelling(str(file), names, case=False)
    elif not all(map(is_number, names.keys() - {""})):
        check_spelling(str(file), names)


def is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def print_doubts(where: str, speakers: Iterable[str]) -> None:
    """Print what may be a slip in the names of speakers, and may be meant."""
    speakers = set(speakers)
    if alike := twins(speakers, fold_case):
        one, other = alike[0]
        print(f"{where}: {len(alike)} speakers differ from another one in nothing but case: '{one}' and '{other}'")
    for name in sorted(speakers.intersection(MISSING)):
        print(f"{where}: a speaker is called '{name}', which is what programs write for a missing value")


def check_languages(path: Path, languages: PackedStrings, tokenizer: "Tokenizer") -> bool:
    """Whether utt2lang chooses the prefixes, which is then said: not where its values are to be predicted, nor for a
    vocabulary whose prefix names no language. UserError for a language that Whisper lacks."""
    if not tokenizer.text.multilingual or any(task.table == LANGUAGE for task in tokenizer.tasks):
        return False
    counts = count_languages(languages, tokenizer)
    for language in counts:
        try:
            tokenizer.prefix_in(language)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    said = ", ".join(f"{language} {count}" for language, count in counts.items())
    print(f"{path}: languages of the prefixes: {said}", flush=True)
    return True


def count_languages(languages: PackedStrings, tokenizer: "Tokenizer") -> dict[str, int]:
    """Language, in alphabetical order -> utterances whose prefix names it."""
    return dict(sorted(Counter(language or tokenizer.language for language in languages).items()))
