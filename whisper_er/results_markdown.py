"""RESULTS.md: the figures of an experiment as tables that read well both as plain text and as markdown."""

import json
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_er.errors import first_few
from whisper_er.resampling import LEVEL, NUM_RESAMPLES
from whisper_er.results import RESULT, SetResult, over

ACCURACY_ONLY = ("gender", "speaker")  # tasks that the field reports by accuracy alone; result.json has all figures
MOST_CLASSES = 20  # a larger confusion matrix is in result.json only
UNDEFINED = "–"


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
        text = UNDEFINED if value is None else f"{value * self.scale:.{self.digits}f}"
        return text if sd is None or value is None else f"{text} ± {self.show(sd)}"


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


def summary_table(result: SetResult) -> str:
    """A row per fold, mean ± sample standard deviation, pooled."""
    columns = columns_of(result.pooled["tasks"])
    rows = [["fold", "utterances", *(column.title for column in columns)]]
    for fold, part in result.folds.items():
        rows.append([fold, str(part.result["num_utterances"]), *(c.show(part.result["tasks"]) for c in columns)])
    if result.mean is not None:
        rows.append(["mean ± sd", "", *(column.show(result.mean, result.sd) for column in columns)])
        pooled = result.pooled
        rows.append(["pooled", str(pooled["num_utterances"]), *(column.show(pooled["tasks"]) for column in columns)])
    return table(rows)


def confusion_table(task: str, figures: dict) -> str:
    labels, recall = figures["labels"], Column("", task, "recall")
    rows = [["reference \\ hypothesis", *labels, "recall"]]
    for label, counts in zip(labels, figures["confusion"]):
        rows.append([label, *map(str, counts), recall.show({task: {"recall": figures["recall"][label]}})])
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown with the columns aligned: the first to the left, the others to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        for row in (cells[0], rule, *cells[1:])
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in padded)


def group_table(result: SetResult, group: str) -> str:
    """A row per value of a group, of the pooled utterances."""
    columns = columns_of(result.pooled["tasks"])
    rows = [[group, "utterances", *(column.title for column in columns)]]
    for value, part in result.pooled["groups"][group].items():
        rows.append([value, str(part["num_utterances"]), *(column.show(part["tasks"]) for column in columns)])
    return table(rows)


def interval_table(result: SetResult) -> str:
    """Intervals of the pooled figures, and of each group's."""
    parts = {"all": result.pooled}
    for group in result.pooled["groups"].values():
        parts |= group
    rows = [["utterances", "task", "figure", "value", "by utterance", f"by speaker ({result.pooled['num_speakers']})"]]
    for part_name, part in parts.items():
        for task, figures in part["tasks"].items():
            for figure in figures.get("intervals", {}).get("utterance", ()):
                bounds = [interval(figures["intervals"][unit][figure]) for unit in ("utterance", "speaker")]
                title = figure.removeprefix("macro_").upper()
                rows.append([part_name, task, title, Column("", task, figure).show(part["tasks"]), *bounds])
    return table(rows) if len(rows) > 1 else ""


def notes(result: SetResult) -> list[str]:
    """What the figures of the summary table do not say by themselves, one line each."""
    lines = []
    for name, figures in result.pooled["tasks"].items():
        if figures["kind"] == "text":
            lines += [text_note("WER", normalizer(result), figures["normalized"]),
                      text_note("WER raw", "text as it is", figures["raw"])]
        if figures["unlabelled"]:
            lines.append(f"{name}: {len(figures['unlabelled'])} utterances without a label are not scored: "
                         f"{first_few(figures['unlabelled'])}")
    return lines


def text_note(title: str, normalization: str, counts: dict) -> str:
    return (f"{title}: {normalization}; {counts['substitutions']} substitutions, {counts['deletions']} deletions, "
            f"{counts['insertions']} insertions in {counts['reference_words']} words; empty "
            f"references: {counts['empty_references']}, with {counts['insertions_on_empty']} of the insertions")


def normalizer(result: SetResult) -> str:
    used = {(n["language"], n["spellings"]) for n in (part.result["text_normalizer"] for part in result.folds.values())}
    said = []
    for language, spellings in sorted(used):
        table = f"with {spellings}" if spellings else "without"
        said.append(f"Whisper's normaliser for 'en' {table} British-American spellings" if language == "en"
                    else f"Whisper's basic normaliser ('{language}')")
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
    ran_in = {fold: {key: value for key, value in own["training"].items() if key != "command"}
              for fold, own in folds.items()}
    return lines + by_fold({fold: f"trained with {settings(values)}" for fold, values in ran_in.items()})


def command_lines(result: SetResult) -> list[str]:
    """What trained each fold, to be run from the recipe's directory, and where its scores lie."""
    return [f"fold {fold}: `{shlex.join(['python', *part.result['training']['command']])}`, scores in "
            f"`{part.directory / RESULT}`" for fold, part in result.folds.items()]


def settings(values: dict) -> str:
    return ", ".join(f"{key} `{value if isinstance(value, str) else json.dumps(value)}`"
                     for key, value in values.items())


def section(result: SetResult) -> str:
    parts = [f"## {result.name}", summary_table(result)]
    if result.mean is not None:
        parts.append("Mean ± sample standard deviation over the folds; pooled: all folds' utterances together.")
    parts += [f"### By {group}\n\n{group_table(result, group)}" for group in result.pooled["groups"]]
    if intervals := interval_table(result):
        parts += [f"### {level_percent()} bootstrap intervals", intervals,
                  f"{NUM_RESAMPLES} resamples of utterances or of whole speakers. Utterances of one speaker are alike, "
                  "so that the first is too narrow for what a new speaker would give; with ten speakers or fewer the "
                  "second is too narrow as well."]
    parts.append(bullets(notes(result)))
    for name, figures in result.pooled["tasks"].items():
        if 0 < len(figures.get("labels", ())) <= MOST_CLASSES:
            parts += [f"### Confusion of {name}{', pooled' if result.mean is not None else ''}, recall in %",
                      confusion_table(name, figures)]
    parts += ["### Protocol and environment", bullets(protocol_lines(result)), "### Commands",
              bullets(command_lines(result))]
    return "\n\n".join(part for part in parts if part)


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def render(exp_dir: Path, commands: Sequence[str], results: Sequence[SetResult]) -> str:
    """The whole RESULTS.md. commands: what led to it, to be run from the recipe's directory."""
    about = ("Figures in percent; CCC, MAE and NLL (nats) as they are. Full precision, reliability bins and the names "
             "of unlabelled utterances: result.json. Generated, not to be edited, by")
    return "\n\n".join([f"# Results of {exp_dir.name}", about, *(f"    {command}" for command in commands),
                        *map(section, results)]) + "\n"


def render_seeds(exp_dir: Path, commands: Sequence[str], seeds: dict[str, list[SetResult]]) -> str:
    """RESULTS.md of an experiment with several seeds: the pooled figures of each, mean ± sd over seeds."""
    parts = [f"# Results of {exp_dir.name}", "Figures in percent; NLL (nats), CCC and MAE as they are. Generated, not "
             "to be edited, by", *(f"    {command}" for command in commands)]
    for i, first in enumerate(next(iter(seeds.values()))):
        parts += [f"## {first.name}", seed_table({seed: results[i] for seed, results in seeds.items()}),
                  "Each seed: all folds' utterances together; then mean ± sample standard deviation over the seeds. "
                  "Folds, intervals and commands of a seed: seed<k>/RESULTS.md."]
    return "\n\n".join(parts) + "\n"


def seed_table(seeds: dict[str, SetResult]) -> str:
    pooled = {seed: result.pooled["tasks"] for seed, result in seeds.items()}
    runs = list(pooled.values())
    columns = columns_of(runs[0])
    rows = [["seed", *(column.title for column in columns)]]
    rows += [[seed, *(column.show(tasks) for column in columns)] for seed, tasks in pooled.items()]
    if len(runs) > 1:
        mean, sd = over(runs, statistics.mean), over(runs, statistics.stdev)
        rows.append(["mean ± sd", *(column.show(mean, sd) for column in columns)])
    return table(rows)
