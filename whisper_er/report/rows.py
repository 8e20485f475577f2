"""What the tables of RESULTS.md and report.html hold: rows of cells as they are shown, and lines of text."""

import json
import math
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from whisper_er.base.errors import first_few
from whisper_er.score.bootstrap import LEVEL, NUM_RESAMPLES, Interval
from whisper_er.score.comparison import UNITS
from whisper_er.score.figure import Figure, Figures, Values
from whisper_er.score.figures import FIGURES
from whisper_er.score.metrics import WordErrors, collapse
from whisper_er.score.pairing import COUNTED
from whisper_er.score.results import RESULT, WHOLE, SetResult
from whisper_er.score.scoring import PartScore
from whisper_er.text.conventions import CONVENTIONS
from whisper_er.text.orthography import is_spaced

MOST_CLASSES = 20  # a larger confusion matrix is in result.json only
UNDEFINED = "–"
INTERVAL_NOTE = (
    f"{NUM_RESAMPLES} resamples of utterances or of whole speakers. Utterances of one speaker are alike, "
    "so that the first is too narrow for what a new speaker would give; with ten speakers or fewer the "
    "second is too narrow as well."
)


def number(value: float | None, scale: int = 100, digits: int = 1) -> str:
    if value is None:
        return UNDEFINED
    return f"{round(value * scale, digits) + 0.0:.{digits}f}"  # + 0.0: no -0.000


def show(figures: Figures, name: str) -> str:
    """A figure as its column has it."""
    figure = figures.catalogue()[name]
    return number(figures.values[name], figure.scale, figure.digits)


def interval(ends: Interval, scale: int = 100, digits: int = 1) -> str:
    if math.isnan(ends.low) or math.isnan(ends.high):
        return UNDEFINED
    return f"{scale * ends.low:.{digits}f} to {scale * ends.high:.{digits}f}"


@dataclass(frozen=True)
class Column:
    """One figure of a task in a table. scale: 100 for figures shown in percent."""

    title: str
    task: str
    figure: str
    scale: int = 100
    digits: int = 1

    def show(self, values: Mapping[str, Values], sd: Mapping[str, Values] | None = None) -> str:
        """values, sd: by task."""
        text = number(values[self.task][self.figure], self.scale, self.digits)
        return text if sd is None or text == UNDEFINED else f"{text} ± {self.show(sd)}"


def mean_and_sd(values: Sequence[float | None]) -> str:
    """In percent, of shares of 1; undefined for one value alone, and where one is undefined."""
    if len(values) < 2 or None in values:
        return UNDEFINED
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


def columns_of(tasks: Mapping[str, Figures]) -> list[Column]:
    columns = []
    for task, figures in tasks.items():
        for name, title in figures.columns(figures.task).items():
            figure = figures.catalogue()[name]
            if figure.column and (figure.always or figures.values[name] is not None):
                columns.append(Column(title, task, name, figure.scale, figure.digits))
    return columns


def unscaled(*kinds: str) -> str:
    """The figures that no table has in percent, for a sentence, but for those that a note explains. kinds: of tasks, in
    the order of their figures."""
    figures = [figure for kind in kinds for figure in FIGURES[kind].catalogue().values()]
    figures = [figure for figure in figures if figure.scale == 1 and not figure.noted]
    *titles, last = [f"{figure.title} ({figure.unit})" if figure.unit else figure.title for figure in figures]
    return f"{', '.join(titles)} and {last}"


def summary_rows(result: SetResult) -> list[list[str]]:
    """A heading, a row per fold, mean ± sample standard deviation, pooled."""
    columns = columns_of(result.pooled.tasks)
    rows = [["fold", "utterances", *(column.title for column in columns)]]
    rows += [row_of(fold, part.result.score, columns) for fold, part in result.folds.items()]
    if result.mean is not None:
        rows.append(["mean ± sd", "", *(column.show(result.mean, result.sd) for column in columns)])
        rows.append(row_of("pooled", result.pooled, columns))
    return rows


def convention_tables(result: SetResult) -> list[list[list[str]]]:
    """Of each text task a heading and a row per convention; none for a result from before there were several."""
    return [
        convention_rows(result, name)
        for name, figures in result.pooled.tasks.items()
        if figures.task.kind == "text" and any(figures.values[convention] is not None for convention in COUNTED)
    ]


def convention_rows(result: SetResult, task: str) -> list[list[str]]:
    catalogue, several = result.pooled.tasks[task].catalogue(), result.mean is not None
    rows = [[f"words of {task}", "figure", *(["mean ± sd"] if several else []), "pooled" if several else "value"]]
    for name, convention in CONVENTIONS.items():
        column = Column(catalogue[name].title, task, name, catalogue[name].scale, catalogue[name].digits)
        mean = [column.show(result.mean, result.sd)] if several else []
        rows.append([convention.about, column.title, *mean, column.show(result.pooled.values)])
    return rows


def group_rows(result: SetResult, group: str) -> list[list[str]]:
    """A heading, and a row per value of a group, of the pooled utterances."""
    columns = columns_of(result.pooled.tasks)
    heading = [group, "utterances", *(column.title for column in columns)]
    return [heading, *(row_of(value, part, columns) for value, part in result.pooled.groups[group].items())]


def row_of(name: str, score: PartScore, columns: Sequence[Column]) -> list[str]:
    return [name, str(score.num_utterances), *(column.show(score.values) for column in columns)]


@dataclass(frozen=True)
class IntervalRow:
    """One figure of a part of the utterances as it is shown. share: its value; ends: unit -> interval, of `share`."""

    part: str
    task: str
    figure: Figure
    value: str
    share: float | None
    ends: dict[str, Interval]

    @property
    def cells(self) -> list[str]:
        shown = (interval(self.ends[unit], self.figure.scale, self.figure.digits) for unit in UNITS)
        return [self.part, self.task, self.figure.title, self.value, *shown]


def interval_rows(parts: Iterable[tuple[str, PartScore]]) -> list[IntervalRow]:
    """Those figures of each part of the utterances that have intervals."""
    return [
        IntervalRow(
            part_name,
            task,
            figures.catalogue()[name],
            show(figures, name),
            figures.values[name],
            {unit: figures.intervals[unit][name] for unit in UNITS},
        )
        for part_name, part in parts
        for task, figures in part.tasks.items()
        for name in figures.intervals.get("utterance", ())
    ]


def had_references(result: SetResult) -> bool:
    """Whether any fold was decoded with teacher_forced or context_from=ref."""
    return bool(references_given(result))


def references_given(result: SetResult) -> list[str]:
    """What the answers were given, and by which setting."""
    decodings = [part.result.about["decoding"] for part in result.folds.values()]
    given = []
    if any(one.get("teacher_forced", False) for one in decodings):
        given.append("the references of the tasks before it (teacher_forced)")
    if any(one.get("context_from") == "ref" for one in decodings):
        given.append("the references of the turns before it (context_from=ref)")
    return given


def caveats(result: SetResult) -> list[str]:
    """What keeps the figures from being results, one line each: it stands above the table."""
    lines = []
    if given := references_given(result):
        lines.append(f"A ceiling, not a result: each answer was given {' and '.join(given)}.")
    folds_of: dict[str, list[str]] = {}
    for fold, part in result.folds.items():
        for name, figures in part.result.score.tasks.items():
            # A result that an older version wrote may have no confusion matrix.
            if figures.task.kind == "category" and figures.confusion:
                if said := collapse(name, figures.confusion, figures.labels):
                    folds_of.setdefault(said, []).append(fold)
    for said, folds in folds_of.items():
        where = "" if folds == [WHOLE] else f"fold {', '.join(folds)}: "
        lines.append(f"Warning: {where}{said}, though the references have several labels.")
    return lines


def notes(result: SetResult) -> list[str]:
    """What the figures of the summary table do not say by themselves, one line each."""
    lines = []
    for name, figures in result.pooled.tasks.items():
        if figures.task.kind == "text":
            lines += [
                text_note("WER", normalizer(result), figures.normalized),
                text_note("WER raw", "text as it is", figures.raw),
            ]
        if figures.task.kind == "category" and figures.num_voted:
            lines.append(
                f"{name}: JSD, KL (votes to posterior), both in nats, and Brier are means over the {figures.num_voted} "
                "utterances that have votes, with a label or without"
            )
        unseen = set(figures.unseen)
        if unseen:
            share = f"{len(unseen)} of {result.pooled.num_utterances} utterances"
            lines.append(f"{name}: {share} have a label that training lacks: unlabelled")
        if unlabelled := [utt_id for utt_id in figures.unlabelled if utt_id not in unseen]:
            lines.append(
                f"{name}: {len(unlabelled)} utterances without a label are not scored: {first_few(unlabelled)}"
            )
        if figures.no_answer:
            what = "count as wrong, in WA, UA, recall and F1" if figures.task.kind == "category" else "are left out"
            lines.append(
                f"{name}: {len(figures.no_answer)} labelled utterances whose hypothesis has no label {what}: "
                f"{first_few(figures.no_answer)}"
            )
    return lines


def text_note(title: str, normalization: str, counts: WordErrors) -> str:
    return (
        f"{title}: {normalization}; {counts.substitutions} substitutions, {counts.deletions} deletions, "
        f"{counts.insertions} insertions in {counts.reference_words} words; empty "
        f"references: {counts.empty_references}, with {counts.insertions_on_empty} of the insertions"
    )


def normalizer(result: SetResult) -> str:
    normalizers = [part.result.about["text_normalizer"] for part in result.folds.values()]
    titles = []
    used = {(language, one["spellings"]) for one in normalizers for language in one["language"].split()}
    for language, spellings in sorted(used):
        table = f"with {spellings}" if spellings else "without"
        titles.append(
            f"Whisper's normaliser for 'en' {table} British-American spellings"
            if language == "en"
            else f"Whisper's basic normaliser ('{language}'{'' if is_spaced(language) else ', characters as words'})"
        )
    return " and ".join(titles)


def level_percent() -> str:
    return f"{100 * LEVEL:.0f} %"


def by_fold(per_fold: dict[str, str]) -> list[str]:
    """A line that all folds share once, else one line a fold."""
    if len(set(per_fold.values())) == 1:
        return [next(iter(per_fold.values()))]
    return [f"fold {fold}: {text}" for fold, text in per_fold.items()]


def protocol_lines(result: SetResult) -> list[str]:
    """Which data trained, selected and tested the models, how the hypotheses came about, and in what environment."""
    folds = {fold: part.result.about for fold, part in result.folds.items()}
    lines = by_fold({fold: about["protocol"] for fold, about in folds.items()})
    lines += by_fold({fold: f"decoding: {settings(about['decoding'])}" for fold, about in folds.items()})
    ran_in = {
        fold: {key: value for key, value in about["training"].items() if key != "command"}
        for fold, about in folds.items()
    }
    return lines + by_fold({fold: f"trained with {settings(values)}" for fold, values in ran_in.items()})


def command_lines(result: SetResult) -> list[str]:
    """What trained each fold, to be run from the recipe's directory, and where its scores lie."""
    return [
        f"fold {fold}: `{shlex.join(['python', *part.result.about['training']['command']])}`, scores in "
        f"`{part.directory / RESULT}`"
        for fold, part in result.folds.items()
    ]


def settings(values: dict) -> str:
    return ", ".join(
        f"{key} `{value if isinstance(value, str) else json.dumps(value)}`" for key, value in values.items()
    )
