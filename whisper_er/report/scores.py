"""The sections with the figures of a test set: scores with intervals, confusion, calibration, breakdown."""

import json
from collections.abc import Iterable, Sequence

from whisper_er.report import charts
from whisper_er.report.markup import Markup, bullets, element, escape, framed, join, paragraph, table
from whisper_er.report.rows import (
    INTERVAL_NOTE,
    MOST_CLASSES,
    UNDEFINED,
    Column,
    group_rows,
    interval_rows,
    level_percent,
    notes,
    summary_rows,
)
from whisper_er.report.speakers import speaker_rows
from whisper_er.score.results import SetResult, pool_tasks

SHADES = 10  # of a confusion matrix; report.css has a rule for each


def scores(result: SetResult) -> Markup:
    parts = [table(summary_rows(result), "Figures of each fold" if result.mean is not None else "Figures")]
    about = "Figures in percent; CCC, MAE and NLL (nats) as they are."
    if result.mean is not None:
        about += " Mean ± sample standard deviation over the folds; pooled: all folds' utterances together."
    parts.append(paragraph(about, class_="note"))
    if drawn := intervals([("", result.pooled)], result, f"{level_percent()} bootstrap intervals"):
        about = "Upright line: the figure; thick: its interval by utterance; thin: by speaker. "
        parts += [drawn, paragraph(about, INTERVAL_NOTE, class_="note")]
    if lines := notes(result):
        parts.append(bullets(lines))
    return join(parts)


def intervals(parts: Iterable[tuple[str, dict]], result: SetResult, caption: str) -> Markup:
    """A table with a drawing in each row; empty where no figure has an interval. A part's name may be empty."""
    rows = interval_rows(parts)
    numbers = ("value", "by utterance", f"by speaker ({result.pooled['num_speakers']})", "0 to 100 %")
    head = element("tr", *(element("th", title, scope="col") for title in ("figure", *numbers)))
    body = []
    for row in rows:
        values = [element("td", cell) for cell in row.cells[3:]]
        drawn = charts.interval(row.share, row.bounds["utterance"], row.bounds["speaker"])
        name = " ".join(filter(None, (row.part, row.task, row.figure)))
        body.append(element("tr", element("th", name, scope="row"), *values, element("td", drawn)))
    return framed(caption, head, body) if rows else Markup()


def categories(result: SetResult) -> dict[str, dict]:
    """Name -> pooled figures of the category tasks, the last one, which is the main one, first."""
    return {
        name: figures for name, figures in reversed(result.pooled["tasks"].items()) if figures["kind"] == "category"
    }


def confusion(task: str, figures: dict, where: dict[str, str], column: str, reference: str = "") -> Markup:
    """Rows reference, columns hypothesis. A cell with utterances is a button that shows them.

    where: filters of the table of utterances beside the cell's own; column: the task's key there; reference: that of
    another column with the same references, which is filtered by them.
    """
    labels = figures["labels"]
    if len(labels) > MOST_CLASSES:
        return paragraph(f"{task}: {len(labels)} classes are too many to be shown; result.json has the matrix.")
    recall = Column("", task, "recall")
    rows = []
    for label, counts in zip(labels, figures["confusion"]):
        total = sum(counts)
        referred = where | {f"{reference or column}.reference": label}
        cells = [
            confusion_cell(task, label, said, count, total, referred | {f"{column}.hypothesis": said})
            for said, count in zip(labels, counts)
        ]
        ends = (recall.show({task: {"recall": figures["recall"][label]}}), str(total))
        rows.append(element("tr", element("th", label, scope="row"), *cells, *(element("td", end) for end in ends)))
    heading = [
        element("th", "reference \\", element("br"), "hypothesis", scope="col"),
        *(element("th", label, scope="col") for label in (*labels, "recall", "utterances")),
    ]
    return framed(f"Confusion of {task}: % of the reference, count", element("tr", *heading), rows, "confusion")


def confusion_cell(task: str, label: str, said: str, count: int, total: int, filters: dict[str, str]) -> Markup:
    shade = f"shade-{round(SHADES * count / total)}" if total else ""
    right = " right" if label == said else ""
    percent = f"{100 * count / total:.1f}" if total else UNDEFINED
    shown = [element("span", percent), " ", element("small", str(count))]
    if not count:
        return element("td", element("div", *shown), class_=f"cell {shade}{right}")
    name = f"{task}: {count} with reference {label}, hypothesis {said}, {percent} %; show them"
    button = element("button", *shown, type="button", data_filter=json.dumps(filters), aria_label=name)
    return element("td", button, class_=f"cell {shade}{right}")


def reliability(task: str, figures: dict) -> Markup:
    """The diagram, and its bins as a table."""
    ece = Column("", task, "ece").show({task: figures})
    rows = [["confidence", "utterances", "mean confidence", "accuracy"]]
    for one in figures["calibration"]["bins"]:
        if one["count"]:
            shares = (f"{100 * one[key]:.1f}" for key in ("confidence", "accuracy"))
            rows.append([f"{one['low']:.2f} to {one['high']:.2f}", f"{one['count']:.0f}", *shares])
    title = f"{task}: ECE {ece}, NLL {Column('', task, 'nll', 1, 3).show({task: figures})}"
    return element(
        "figure",
        element("figcaption", title),
        charts.reliability(task, figures["calibration"]["bins"]),
        element("details", element("summary", "The bins as a table"), table(rows, f"Reliability of {task}")),
    )


def breakdown(result: SetResult, where: dict[str, str]) -> Markup:
    """Per speaker, and per value of each group that was scored apart."""
    parts = [
        linked_table(
            speaker_rows(pool_tasks([part.result for part in result.folds.values()]), result.pairs),
            "Per speaker",
            where,
            "speaker",
        )
    ]
    for group in result.pooled["groups"]:
        parts.append(linked_table(group_rows(result, group), f"Per {group}", where, f"group-{group}"))
        drawn = intervals(result.pooled["groups"][group].items(), result, f"Intervals per {group}")
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
