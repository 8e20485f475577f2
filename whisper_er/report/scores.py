"""The sections with the figures of a test set: scores with intervals, confusion, calibration, breakdown."""

import json
from collections.abc import Iterable, Sequence

from whisper_er.report import charts
from whisper_er.report.markup import Markup, bullets, element, escape, framed, join, paragraph, table
from whisper_er.report.rows import (
    INTERVAL_NOTE,
    MOST_CLASSES,
    UNDEFINED,
    caveats,
    convention_tables,
    group_rows,
    interval_rows,
    level_percent,
    notes,
    number,
    show,
    summary_rows,
    unscaled,
)
from whisper_er.report.speakers import speaker_rows
from whisper_er.score.figures import CategoryFigures
from whisper_er.score.results import SetResult
from whisper_er.score.scoring import PartScore

SHADES = 10  # of a confusion matrix; report.css has a rule for each


def scores(result: SetResult) -> Markup:
    parts = [bullets(lines)] if (lines := caveats(result)) else []
    parts += [table(summary_rows(result), "Figures of each fold" if result.mean is not None else "Figures")]
    about = f"Figures in percent; {unscaled('scale', 'category')} as they are."
    if result.mean is not None:
        about += " Mean ± sample standard deviation over the folds; pooled: all folds' utterances together."
    parts.append(paragraph(about, class_="note"))
    parts += [table(rows, "Word error rates by convention") for rows in convention_tables(result)]
    if drawn := intervals([("", result.pooled)], result, f"{level_percent()} bootstrap intervals"):
        about = "Upright line: the figure; thick: its interval by utterance; thin: by speaker. "
        parts += [drawn, paragraph(about, INTERVAL_NOTE, class_="note")]
    if lines := notes(result):
        parts.append(bullets(lines))
    return join(parts)


def intervals(parts: Iterable[tuple[str, PartScore]], result: SetResult, caption: str) -> Markup:
    """A table with a drawing in each row; empty where no figure has an interval. A part's name may be empty."""
    rows = interval_rows(parts)
    numbers = ("value", "by utterance", f"by speaker ({result.pooled.num_speakers})", "0 to 100 %")
    head = element("tr", *(element("th", title, scope="col") for title in ("figure", *numbers)))
    body = []
    for row in rows:
        values = [element("td", cell) for cell in row.cells[3:]]
        drawn = charts.interval(row.share, row.ends["utterance"], row.ends["speaker"])
        name = " ".join(filter(None, (row.part, row.task, row.figure.title)))
        body.append(element("tr", element("th", name, scope="row"), *values, element("td", drawn)))
    return framed(caption, head, body) if rows else Markup()


def categories(result: SetResult) -> list[CategoryFigures]:
    """Pooled figures of the category tasks, the last one, which is the main one, first."""
    return [figures for figures in reversed(result.pooled.tasks.values()) if figures.task.kind == "category"]


def confusion(figures: CategoryFigures, where: dict[str, str], column: str, reference: str = "") -> Markup:
    """Rows reference, columns hypothesis. A cell with utterances is a button that shows them.

    where: filters of the table of utterances beside the cell's own; column: the task's key there; reference: that of
    another column with the same references, which is filtered by them.
    """
    task, labels = figures.task.name, figures.labels
    if len(labels) > MOST_CLASSES:
        return paragraph(f"{task}: {len(labels)} classes are too many to be shown; result.json has the matrix.")
    rows = []
    for label, counts in zip(labels, figures.confusion):
        total = sum(counts)
        referred = where | {f"{reference or column}.reference": label}
        cells = [
            confusion_cell(task, label, hypothesis, count, total, referred | {f"{column}.hypothesis": hypothesis})
            for hypothesis, count in zip(figures.answers, counts)
        ]
        ends = (number(figures.recall[label]), str(total))
        rows.append(element("tr", element("th", label, scope="row"), *cells, *(element("td", end) for end in ends)))
    heading = [
        element("th", "reference \\", element("br"), "hypothesis", scope="col"),
        *(element("th", label, scope="col") for label in (*figures.answers, "recall", "utterances")),
    ]
    return framed(f"Confusion of {task}: % of the reference, count", element("tr", *heading), rows, "confusion")


def confusion_cell(
    task: str, reference: str, hypothesis: str, count: int, total: int, filters: dict[str, str]
) -> Markup:
    shade = f"shade-{round(SHADES * count / total)}" if total else ""
    right = " right" if reference == hypothesis else ""
    percent = f"{100 * count / total:.1f}" if total else UNDEFINED
    shown = [element("span", percent), " ", element("small", str(count))]
    if not count:
        return element("td", element("div", *shown), class_=f"cell {shade}{right}")
    name = f"{task}: {count} with reference {reference}, hypothesis {hypothesis}, {percent} %; show them"
    button = element("button", *shown, type="button", data_filter=json.dumps(filters), aria_label=name)
    return element("td", button, class_=f"cell {shade}{right}")


def reliability(figures: CategoryFigures) -> Markup:
    """The diagram, and its bins as a table."""
    task = figures.task.name
    rows = [["confidence", "utterances", "mean confidence", "accuracy"]]
    for one in figures.calibration:
        if one.count:
            shares = (f"{100 * share:.1f}" for share in (one.confidence, one.accuracy))
            rows.append([f"{one.low:.2f} to {one.high:.2f}", str(one.count), *shares])
    title = f"{task}: ECE {show(figures, 'ece')}, NLL {show(figures, 'nll')}"
    return element(
        "figure",
        element("figcaption", title),
        charts.reliability(task, figures.calibration),
        element("details", element("summary", "The bins as a table"), table(rows, f"Reliability of {task}")),
    )


def breakdown(result: SetResult, where: dict[str, str]) -> Markup:
    """Per speaker, and per value of each group that was scored apart."""
    parts = [linked_table(speaker_rows(result.tasks, result.pairs), "Per speaker", where, "speaker")]
    for group in result.pooled.groups:
        parts.append(linked_table(group_rows(result, group), f"Per {group}", where, f"group-{group}"))
        drawn = intervals(result.pooled.groups[group].items(), result, f"Intervals per {group}")
        parts.append(element("details", element("summary", f"Intervals per {group}"), drawn) if drawn else "")
    return join(parts)


def linked_table(rows: Sequence[Sequence[str]], caption: str, where: dict[str, str], column: str) -> Markup:
    """A table of which each row's name is a button that shows its utterances."""
    heading, *others = rows
    linked = []
    for name, *cells in others:
        filters = json.dumps({**where, column: name})
        button = element(
            "button",
            name,
            type="button",
            class_="link",
            data_filter=filters,
            aria_label=f"{name}: show these utterances",
        )
        linked.append([button, *cells])
    return table([[escape(cell) for cell in heading], *linked], caption)
