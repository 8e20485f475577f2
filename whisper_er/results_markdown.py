"""RESULTS.md: the figures of an experiment as tables that read well both as plain text and as markdown."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from whisper_er.result_tables import (
    INTERVAL_NOTE,
    MOST_CLASSES,
    Column,
    columns_of,
    command_lines,
    group_rows,
    interval_rows,
    level_percent,
    notes,
    protocol_lines,
    summary_rows,
)
from whisper_er.score.results import SetResult, over


def summary_table(result: SetResult) -> str:
    """A row per fold, mean ± sample standard deviation, pooled."""
    return table(summary_rows(result))


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


def interval_table(result: SetResult) -> str:
    """Intervals of the pooled figures, and of each group's."""
    groups = result.pooled["groups"].values()
    rows = interval_rows([("all", result.pooled), *(part for group in groups for part in group.items())])
    heading = ["utterances", "task", "figure", "value", "by utterance", f"by speaker ({result.pooled['num_speakers']})"]
    return table([heading, *(row.cells for row in rows)]) if rows else ""


def section(result: SetResult) -> str:
    parts = [f"## {result.name}", summary_table(result)]
    if result.mean is not None:
        parts.append("Mean ± sample standard deviation over the folds; pooled: all folds' utterances together.")
    parts += [f"### By {group}\n\n{table(group_rows(result, group))}" for group in result.pooled["groups"]]
    if intervals := interval_table(result):
        parts += [f"### {level_percent()} bootstrap intervals", intervals, INTERVAL_NOTE]
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
