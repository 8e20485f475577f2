"""What is predicted for an utterance. A task is data: a new one is a file `utt2<name>` and a word in `tasks`."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from whisper_er.base.errors import UserError
from whisper_er.base.spelling import difference, fold_case

NAME = re.compile(r"\w[\w-]*")  # a task's name: part of file names, and one word of an option
# Tables of a data directory that are no labels: decoding would write its answers over them.
RESERVED = re.compile(r"spk|num_samples|fold|prev|set\d+")
MOST_BINS = 1000
TEXT_TASK = "asr"  # the one task whose labels are in the file `text`
# What pandas, Python, SQL and spreadsheets write for an empty cell. In these spellings alone: "none" is a word, and a
# class of some corpora.
MISSING = ("nan", "NaN", "NAN", "None", "null", "NULL", "n/a", "N/A")


@dataclass(frozen=True)
class Task:
    """One thing that is predicted for an utterance.

    name:   as in `tasks=` of run.sh; also names the metric and the log line (loss_<name>).
    kind:   "text" (WER), "category" (WA, UA, F1) or "scale" (ordered bins; CCC).
    labels: closed label set in token-id order; bin centres for "scale"; empty for "text".
    open:   of a category: whether a label that training lacks counts as no label; else it is an error.
    """

    name: str
    kind: Literal["text", "category", "scale"]
    labels: tuple[str, ...] = ()
    open: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UserError(f"task '{self.name}': its name may hold letters, digits, _ and -, and not begin with -")
        if RESERVED.fullmatch(self.name):
            raise UserError(
                f"task '{self.name}': utt2{self.name} is no table of labels; name the task otherwise (the speakers of "
                "utt2spk are those of the task 'speaker')"
            )

    @property
    def table(self) -> str:
        """Name of the data directory's file with this task's labels."""
        return "text" if self.kind == "text" else f"utt2{self.name}"

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens of the labels: <|happy|> for a category, <|valence:3|> for a scale."""
        return tuple(f"<|{self.name}:{label}|>" if self.kind == "scale" else f"<|{label}|>" for label in self.labels)

    def known(self, value: str) -> str:
        """The value; "", no label, for one that the labels of an open task lack."""
        return "" if self.open and value not in self.labels else value

    def index(self, value: str) -> int:
        """Position of a value in `labels`; a scale takes the nearest bin. UserError for any other value."""
        if self.kind == "category":
            if value not in self.labels:
                check_present(value, self.table)
                twins = [label for label in self.labels if fold_case(label) == fold_case(value)]
                seen = f" ('{value}' and '{twins[0]}' {difference(value, twins[0])})" if twins else ""
                raise UserError(
                    f"{self.table}: '{value}' is not in the token list{seen}; allowed: {' '.join(self.labels)}"
                )
            return self.labels.index(value)
        centres = np.array([float(label) for label in self.labels])
        check_present(value, self.table)
        number = to_number(value, self.table)
        if not centres[0] <= number <= centres[-1]:
            raise UserError(f"{self.table}: {value} lies outside the scale {self.labels[0]}..{self.labels[-1]}")
        return int(np.abs(centres - number).argmin())

    def value(self, posterior: np.ndarray, index: int) -> str:
        """The prediction as it is written: the label; for a scale the expectation over its bins. posterior: (C,)."""
        if self.kind == "category":
            return self.labels[index]
        return f"{float(np.dot(posterior, [float(label) for label in self.labels])):.4f}"


@dataclass
class Prediction:
    """A model's prediction for one utterance.

    values:     task -> label, text, or for a scale the expectation over its bins; "" where a category or scale has no
                answer, which only the free grammar allows.
    posteriors: task -> probability of each of its labels, in their order; categories and scales only.
    score:      natural-log score of the best hypothesis (0 where a model has none).
    warnings:   what is doubtful about the text: it was cut, it repeats itself.
    """

    utt_id: str
    values: dict[str, str]
    posteriors: dict[str, list[float]]
    score: float = 0.0
    warnings: tuple[str, ...] = ()


def main_task(tasks: Sequence[Task]) -> Task:
    """The task that selects models, sorts a report and is drawn over a recording: emotion, else the first one."""
    return next((task for task in tasks if task.name == "emotion"), tasks[0])


def to_number(value: str, table: str) -> float:
    """UserError for a value of a scale that is not a number."""
    try:
        return float(value)
    except ValueError:
        raise UserError(f"{table}: '{value}' is not a number, and the task is a scale") from None


def category(name: str, values: Iterable[str]) -> Task:
    """A category whose labels are the distinct non-empty values of the training table, sorted."""
    labels = tuple(sorted(set(values) - {""}))
    if not labels:
        raise UserError(f"utt2{name}: no training utterance has a label for the task '{name}'; leave it out of --tasks")
    for label in labels:
        check_label(label, f"utt2{name}")
        check_present(label, f"utt2{name}")
    return Task(name, "category", labels)


def check_classes(tasks: Sequence[Task]) -> None:
    """UserError where the main task has one class: every checkpoint is as good; another such task is printed."""
    for task in tasks:
        if task.kind == "category" and len(task.labels) == 1:
            only = f"{task.table}: every label of the training set is '{task.labels[0]}'"
            if task is main_task(tasks):
                raise UserError(
                    f"{only}: with one class there is nothing to learn; leave '{task.name}' out of the tasks, or mend "
                    "the table"
                )
            print(f"{only}: {task.name} will always be answered so")


def check_label(label: str, where: str) -> None:
    """UserError for a label that cannot be a token; `where` opens the message."""
    if any(character.isspace() or character in "<|>" for character in label):
        raise UserError(f"{where}: the label '{label}' holds a space or one of < | >, which a token cannot have")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in label):
        raise UserError(f"{where}: the label '{label}' holds a control character; rename it")


def check_present(label: str, where: str) -> None:
    """UserError for a label that stands for a missing one: it would become a class."""
    if label in MISSING:
        raise UserError(
            f"{where}: the label '{label}' is what programs write for a missing value; without a label, a cell of a "
            "CSV is empty, and in a table the id is alone on its line; a class that is called so needs another name"
        )


def check_task(task: Task, where: str) -> None:
    """UserError where the labels do not fit the task's kind; `where` opens the message."""
    if len(set(task.labels)) < len(task.labels):
        raise UserError(f"{where}: {task.name} has a label twice")
    if task.open and task.kind != "category":
        raise UserError(f"{where}: {task.name} is open, and no category")
    if task.kind == "text" and task.labels:
        raise UserError(f"{where}: {task.name} is text and has labels")
    if task.kind == "category":
        if not task.labels or not all(task.labels):
            raise UserError(f"{where}: {task.name} has an empty label, or none")
        for label in task.labels:
            check_label(label, where)
    if task.kind == "scale":
        centres = [to_number(label, where) for label in task.labels]
        if len(centres) < 2 or sorted(centres) != centres or not np.isfinite(centres).all():
            raise UserError(f"{where}: {task.name} is a scale: its labels have to be two or more rising numbers")


def scale(name: str, low: float, high: float, bins: int) -> Task:
    """A scale from low to high in `bins` bins, the first centred on low and the last on high."""
    if not (-np.inf < low < high < np.inf and 2 <= bins <= MOST_BINS):
        raise UserError(f"scale {name}={low:g}:{high:g}:{bins}: needs low < high and at least 2 bins (to {MOST_BINS})")
    return Task(name, "scale", tuple(f"{centre:g}" for centre in np.linspace(low, high, bins)))
