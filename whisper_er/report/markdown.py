"""RESULTS.md and COMPARISON.md: figures as tables that read well both as plain text and as Markdown.

results.md.j2 and seeds.md.j2 have the words and the order of RESULTS.md.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from whisper_er.base import templates
from whisper_er.report.rows import (
    INTERVAL_NOTE,
    MOST_CLASSES,
    UNDEFINED,
    caveats,
    columns_of,
    command_lines,
    convention_tables,
    group_rows,
    interval_rows,
    level_percent,
    notes,
    number,
    protocol_lines,
    summary_rows,
    unscaled,
)
from whisper_er.score.bootstrap import Interval
from whisper_er.score.comparison import UNITS, Comparison, McNemar
from whisper_er.score.figure import Figure
from whisper_er.score.figures import CategoryFigures
from whisper_er.score.pairing import Pairs, TaskPairs
from whisper_er.score.results import SetResult, over

HERE = Path(__file__).parent


def summary_table(result: SetResult) -> str:
    """A row per fold, mean ± sample standard deviation, pooled."""
    return table(summary_rows(result))


def confusion_table(figures: CategoryFigures) -> str:
    rows = [["reference \\ hypothesis", *figures.answers, "recall"]]
    for label, counts in zip(figures.labels, figures.confusion):
        rows.append([label, *map(str, counts), number(figures.recall[label])])
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
    groups = result.pooled.groups.values()
    rows = interval_rows([("all", result.pooled), *(part for group in groups for part in group.items())])
    heading = ["utterances", "task", "figure", "value", "by utterance", f"by speaker ({result.pooled.num_speakers})"]
    return table([heading, *(row.cells for row in rows)]) if rows else ""


def confusions(result: SetResult) -> list[CategoryFigures]:
    """The pooled figures whose matrix fits the page."""
    categories = (figures for figures in result.pooled.tasks.values() if figures.task.kind == "category")
    return [figures for figures in categories if len(figures.labels) <= MOST_CLASSES]


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def render(exp_dir: Path, commands: Sequence[str], results: Sequence[SetResult]) -> str:
    """The whole RESULTS.md. commands: what led to it, to be run from the recipe's directory."""
    return templates.render(
        HERE / "results.md.j2",
        bullets,
        command_lines,
        confusion_table,
        confusions,
        convention_tables,
        group_rows,
        interval_table,
        level_percent,
        notes,
        protocol_lines,
        summary_table,
        table,
        unscaled,
        caveats,
        name=exp_dir.name,
        commands=commands,
        results=results,
        interval_note=INTERVAL_NOTE,
    )


def render_seeds(exp_dir: Path, commands: Sequence[str], sets: dict[str, dict[str, SetResult]]) -> str:
    """RESULTS.md of an experiment with several seeds: the pooled figures of each, mean ± sd over seeds. sets: as
    over_seeds returns them."""
    about = {"name": exp_dir.name, "commands": commands, "sets": sets}
    return templates.render(HERE / "seeds.md.j2", bullets, seed_table, seed_caveats, unscaled, **about)


def seed_caveats(seeds: dict[str, SetResult]) -> list[str]:
    return [f"seed {seed}: {line}" for seed, result in seeds.items() for line in caveats(result)]


def seed_table(seeds: dict[str, SetResult]) -> str:
    columns = columns_of(next(iter(seeds.values())).pooled.tasks)
    runs = [result.pooled.values for result in seeds.values()]
    rows = [["seed", *(column.title for column in columns)]]
    rows += [[seed, *(column.show(values) for column in columns)] for seed, values in zip(seeds, runs)]
    if len(runs) > 1:
        mean, sd = over(runs, statistics.mean), over(runs, statistics.stdev)
        rows.append(["mean ± sd", *(column.show(mean, sd) for column in columns)])
    return table(rows)


def comparison_table(comparison: Comparison, names: tuple[str, str]) -> str:
    return table(comparison_rows(comparison, names))


def comparison_rows(comparison: Comparison, names: tuple[str, str]) -> list[list[str]]:
    """A heading, and a row per figure, a CCC as it is and others in percent: both systems, the difference, and per unit
    its interval and p."""
    tested = [title for unit in UNITS for title in (f"{level_percent()}, by {unit}", "p")]
    rows = [[comparison.task.name, *names, "difference", *tested]]
    for compared in comparison.figures.values():
        figure = compared.figure
        row = [
            figure.title,
            signed(compared.first, figure),
            signed(compared.second, figure),
            signed(compared.second - compared.first, figure, "+"),
        ]
        for unit in UNITS:
            bootstrap = compared.second_minus_first[unit]
            row += [bounds(bootstrap.interval, figure), p_value(bootstrap.p_value)]
        rows.append(row)
    return rows


def mcnemar_line(mcnemar: McNemar, num_utterances: int, names: tuple[str, str]) -> str:
    p = p_value(mcnemar.p_value)
    return (
        f"Of {num_utterances} utterances only {names[0]} has {mcnemar.only_first} right and only "
        f"{names[1]} {mcnemar.only_second}: exact McNemar test, p {p if p.startswith('<') else f'= {p}'}."
    )


def changed_table(comparison: Comparison, positions: Sequence[int], names: tuple[str, str]) -> str:
    """A row per utterance: transcripts where a system has them, reference, both answers."""
    first, second = comparison.first, comparison.second
    texts = {} if comparison.task.kind == "text" else transcripts(first, second, names)
    rows = [["utterance", *texts, comparison.task.name, *names]]
    columns = [
        *texts.values(),
        first.tasks[comparison.task.name].reference,
        answers(first, comparison.task.name),
        answers(second, comparison.task.name),
    ]
    rows += [[first.utt_ids[i], *(column[i] for column in columns)] for i in positions]
    return table(rows)


def transcripts(first: Pairs, second: Pairs, names: tuple[str, str]) -> dict[str, Sequence[str]]:
    """Title -> text of each utterance: the reference, and what each system with a text task heard."""
    heard = {}
    for name, pairs in zip(names, (first, second)):
        for task in pairs.tasks.values():
            if task.reference_normalized:
                heard |= {"transcript": task.reference, f"heard by {name}": task.hypothesis}
    return heard


def answers(pairs: Pairs, task: str) -> list[str]:
    """The hypotheses, with their probability where decoding left one; of a category a dash where there is none."""
    values = pairs.tasks[task]
    if values.reference_normalized:
        return list(values.hypothesis)
    if not values.posterior:
        return [hyp or UNDEFINED for hyp in values.hypothesis]
    return [f"{hyp} ({sure:.2f})" if hyp else UNDEFINED for hyp, sure in zip(values.hypothesis, values.confidence)]


def most_certain(comparison: Comparison, positions: Sequence[int]) -> list[int]:
    """These utterances, first those of which the second system's answer is the most probable."""
    confidence = comparison.second.tasks[comparison.task.name].confidence
    return sorted(positions, key=lambda i: -confidence[i])


def changed_lines(comparison: Comparison) -> str:
    """JSON lines: every utterance that only one of the two has right, with all that both answered."""
    both = {"first": comparison.first, "second": comparison.second}
    lines = []
    for right, positions in (("first", comparison.only_first), ("second", comparison.only_second)):
        for i in positions:
            about = {"utt_id": comparison.first.utt_ids[i], "speaker": comparison.first.speakers[i], "right": right}
            tasks = {
                system: {task: utterance_json(values, i) for task, values in pairs.tasks.items()}
                for system, pairs in both.items()
            }
            lines.append(json.dumps(about | tasks, ensure_ascii=False) + "\n")
    return "".join(lines)


def utterance_json(values: TaskPairs, i: int) -> dict:
    posterior = {"posterior": values.posterior[i]} if values.posterior else {}
    return {"reference": values.reference[i], "hypothesis": values.hypothesis[i], **posterior}


def signed(value: float, figure: Figure, sign: str = "") -> str:
    return UNDEFINED if value != value else f"{figure.scale * value:{sign}.{figure.digits}f}"


def bounds(interval: Interval, figure: Figure) -> str:
    low, high = (signed(end, figure, "+") for end in (interval.low, interval.high))
    return UNDEFINED if low == UNDEFINED else f"{low} to {high}"


def p_value(value: float) -> str:
    """Three digits; what is smaller is written as such."""
    if value != value:
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
