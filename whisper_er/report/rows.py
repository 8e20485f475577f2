"""What the tables of RESULTS.md and report.html hold: rows of cells as they are shown, and lines of text."""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from whisper_er.base.errors import first_few
from whisper_er.score.bootstrap import LEVEL, NUM_RESAMPLES
from whisper_er.score.results import RESULT, SetResult

ACCURACY_ONLY = ("gender", "speaker")  # tasks that the field reports by accuracy alone; result.json has all figures
MOST_CLASSES = 20  # a larger confusion matrix is in result.json only
UNDEFINED = "–"
INTERVAL_NOTE = (
    f"{NUM_RESAMPLES} resamples of utterances or of whole speakers. Utterances of one speaker are alike, "
    "so that the first is too narrow for what a new speaker would give; with ten speakers or fewer the "
    "second is too narrow as well."
)
UNITS = ("utterance", "speaker")  # what the bootstrap draws


@dataclass(frozen=True)
class Column:
    """One figure of the table. scale: 100 for figures shown in percent."""

    title: str
    task: str
    figure: str
    scale: int = 100
    digits: int = 1

    def show(self, tasks: dict, sd: dict | None = None) -> str:
        value = tasks[self.task][self.figure]
        if value is None:
            return UNDEFINED
        text = f"{round(value * self.scale, self.digits) + 0.0:.{self.digits}f}"  # + 0.0: no -0.000
        return text if sd is None else f"{text} ± {self.show(sd)}"


def columns_of(tasks: dict) -> list[Column]:
    columns = []
    for name, figures in tasks.items():
        if figures["kind"] == "text":
            columns += [Column("WER", name, "wer"), Column("WER raw", name, "wer_raw")]
        elif figures["kind"] == "scale":
            columns += [Column(f"{name} CCC", name, "ccc", 1, 3), Column(f"{name} MAE", name, "mae", 1, 2)]
        elif name in ACCURACY_ONLY:
            columns.append(Column(f"{name} accuracy", name, "wa"))
        else:
            columns += [
                Column(f"{name} WA", name, "wa"),
                Column(f"{name} UA", name, "ua"),
                Column(f"{name} F1", name, "macro_f1"),
            ]
            if figures["ece"] is not None:
                columns += [Column(f"{name} ECE", name, "ece"), Column(f"{name} NLL", name, "nll", 1, 3)]
    return columns


def summary_rows(result: SetResult) -> list[list[str]]:
    """A heading, a row per fold, mean ± sample standard deviation, pooled."""
    columns = columns_of(result.pooled["tasks"])
    rows = [["fold", "utterances", *(column.title for column in columns)]]
    for fold, part in result.folds.items():
        rows.append([fold, str(part.result["num_utterances"]), *(c.show(part.result["tasks"]) for c in columns)])
    if result.mean is not None:
        rows.append(["mean ± sd", "", *(column.show(result.mean, result.sd) for column in columns)])
        pooled = result.pooled
        rows.append(["pooled", str(pooled["num_utterances"]), *(column.show(pooled["tasks"]) for column in columns)])
    return rows


def group_rows(result: SetResult, group: str) -> list[list[str]]:
    """A heading, and a row per value of a group, of the pooled utterances."""
    columns = columns_of(result.pooled["tasks"])
    rows = [[group, "utterances", *(column.title for column in columns)]]
    for value, part in result.pooled["groups"][group].items():
        rows.append([value, str(part["num_utterances"]), *(column.show(part["tasks"]) for column in columns)])
    return rows


@dataclass(frozen=True)
class IntervalRow:
    """One figure of a part of the utterances, in percent as it is shown. bounds: unit -> low and high, shares of 1."""

    part: str
    task: str
    figure: str
    value: str
    share: float | None
    bounds: dict[str, list[float | None]]

    @property
    def cells(self) -> list[str]:
        return [self.part, self.task, self.figure, self.value, *(interval(self.bounds[unit]) for unit in UNITS)]


def interval_rows(parts: Iterable[tuple[str, dict]]) -> list[IntervalRow]:
    """Those figures of each part of the utterances that have intervals; a part as score_tasks has it."""
    return [
        IntervalRow(
            part_name,
            task,
            figure.removeprefix("macro_").upper(),
            Column("", task, figure).show(part["tasks"]),
            figures[figure],
            {unit: figures["intervals"][unit][figure] for unit in UNITS},
        )
        for part_name, part in parts
        for task, figures in part["tasks"].items()
        for figure in figures.get("intervals", {}).get("utterance", ())
    ]


def notes(result: SetResult) -> list[str]:
    """What the figures of the summary table do not say by themselves, one line each."""
    lines = []
    for name, figures in result.pooled["tasks"].items():
        if figures["kind"] == "text":
            lines += [
                text_note("WER", normalizer(result), figures["normalized"]),
                text_note("WER raw", "text as it is", figures["raw"]),
            ]
        if figures["unlabelled"]:
            lines.append(
                f"{name}: {len(figures['unlabelled'])} utterances without a label are not scored: "
                f"{first_few(figures['unlabelled'])}"
            )
    return lines


def text_note(title: str, normalization: str, counts: dict) -> str:
    return (
        f"{title}: {normalization}; {counts['substitutions']} substitutions, {counts['deletions']} deletions, "
        f"{counts['insertions']} insertions in {counts['reference_words']} words; empty "
        f"references: {counts['empty_references']}, with {counts['insertions_on_empty']} of the insertions"
    )


def normalizer(result: SetResult) -> str:
    used = {(n["language"], n["spellings"]) for n in (part.result["text_normalizer"] for part in result.folds.values())}
    said = []
    for language, spellings in sorted(used):
        table = f"with {spellings}" if spellings else "without"
        said.append(
            f"Whisper's normaliser for 'en' {table} British-American spellings"
            if language == "en"
            else f"Whisper's basic normaliser ('{language}')"
        )
    return " and ".join(said)


def interval(bounds: Sequence[float | None]) -> str:
    return UNDEFINED if None in bounds else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def level_percent() -> str:
    return f"{100 * LEVEL:.0f} %"


def by_fold(per_fold: dict[str, str]) -> list[str]:
    """A line that all folds share once, else one line a fold."""
    if len(set(per_fold.values())) == 1:
        return [next(iter(per_fold.values()))]
    return [f"fold {fold}: {text}" for fold, text in per_fold.items()]


def protocol_lines(result: SetResult) -> list[str]:
    """Which data trained, selected and tested the models, how the hypotheses came about, and in what environment."""
    folds = {fold: part.result for fold, part in result.folds.items()}
    lines = by_fold({fold: own["protocol"] for fold, own in folds.items()})
    lines += by_fold({fold: f"decoding: {settings(own['decoding'])}" for fold, own in folds.items()})
    ran_in = {
        fold: {key: value for key, value in own["training"].items() if key != "command"} for fold, own in folds.items()
    }
    return lines + by_fold({fold: f"trained with {settings(values)}" for fold, values in ran_in.items()})


def command_lines(result: SetResult) -> list[str]:
    """What trained each fold, to be run from the recipe's directory, and where its scores lie."""
    return [
        f"fold {fold}: `{shlex.join(['python', *part.result['training']['command']])}`, scores in "
        f"`{part.directory / RESULT}`"
        for fold, part in result.folds.items()
    ]


def settings(values: dict) -> str:
    return ", ".join(
        f"{key} `{value if isinstance(value, str) else json.dumps(value)}`" for key, value in values.items()
    )
