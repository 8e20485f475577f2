"""RESULTS.md: the figures of an experiment as tables that read well both as plain text and as markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_er.errors import first_few
from whisper_er.metrics import LEVEL, NUM_RESAMPLES
from whisper_er.results import RESULT, SetResult

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


def notes(result: SetResult) -> list[str]:
    """What the figures of the summary table do not say by themselves, one line each."""
    lines = []
    for name, figures in result.pooled["tasks"].items():
        if figures["kind"] == "category":
            wa, ua = interval(figures["wa_interval"]), interval(figures["ua_interval"])
            lines.append(f"{name}: {level_percent()} interval of the pooled figures: WA {wa}, UA {ua} "
                         f"({NUM_RESAMPLES} bootstrap resamples of the utterances)")
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


def protocol_lines(result: SetResult) -> list[str]:
    """How the hypotheses came about: what all folds share once, the rest per fold."""
    protocols = {fold: part.result["protocol"] or {} for fold, part in result.folds.items()}
    first = next(iter(protocols.values()))
    shared = {key for key in first if all(key in p and p[key] == first[key] for p in protocols.values())}
    lines = [f"{key}: `{plain(first[key])}`" for key in first if key in shared]
    for fold, protocol in protocols.items():
        own = ", ".join(f"{key} `{plain(value)}`" for key, value in protocol.items() if key not in shared)
        scored = result.folds[fold]
        lines.append(f"fold {fold}: {own + ', ' if own else ''}scores in `{scored.directory / RESULT}`, "
                     f"reference `{scored.result['ref_dir']}`")
    return lines


def plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def section(result: SetResult) -> str:
    parts = [f"## {result.name}", summary_table(result)]
    if result.mean is not None:
        parts.append("Mean ± sample standard deviation over the folds; pooled: all folds' utterances together.")
    parts.append(bullets(notes(result)))
    for name, figures in result.pooled["tasks"].items():
        if 0 < len(figures.get("labels", ())) <= MOST_CLASSES:
            parts += [f"### Confusion of {name}, {'pooled, ' if result.mean is not None else ''}recall in %",
                      confusion_table(name, figures)]
    parts += ["### How it was decoded", bullets(protocol_lines(result))]
    return "\n\n".join(part for part in parts if part)


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def render(exp_dir: Path, command: str, results: Sequence[SetResult]) -> str:
    """The whole RESULTS.md. command: what wrote it, to be run from the recipe's directory."""
    about = ("Figures in percent, CCC and MAE as they are. Full precision, all labels and the names of unlabelled "
             f"utterances: result.json. Written by\n\n    {command}")
    return "\n\n".join([f"# Results of {exp_dir.name}", about, *map(section, results)]) + "\n"
