"""Learning curves from metrics.jsonl of every fold."""

import math
from collections.abc import Sequence
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.plain_files import misfit, parse_json_lines, read_plain
from whisper_er.report import charts
from whisper_er.report.markup import Markup, element, join, paragraph, table
from whisper_er.report.rows import UNDEFINED

METRICS = "metrics.jsonl"
KINDS = ("train", "valid")
ACCURACY = {"text": "1 − WER, as written", "category": "WA", "scale": "CCC"}  # of a validation

Curves = dict[str, list[tuple[float, float]]]  # "train loss_asr" -> (step, value), finite


def read_curves(path: Path) -> Curves:
    """UserError where the file is missing or is not what training writes. Values that are not finite are left out."""
    what, remedy = "what training writes", "the report has no learning curve of it"
    curves: Curves = {}
    for line in read_plain(parse_json_lines, path, [{"step": int}], what, remedy):
        for kind in KINDS:
            values = (
                {name: value for name, value in line.get(kind, {}).items() if is_finite(value)}
                if isinstance(line.get(kind, {}), dict)
                else {}
            )
            if problem := misfit(values, {str: float}, f"'{kind}'"):
                raise UserError(f"{path}: not {what} ({problem}); {remedy}")
            for name, value in values.items():
                curves.setdefault(f"{kind} {name}", []).append((line["step"], float(value)))
    return curves


def is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def learning_curves(folds: dict[str, Path], kinds: dict[str, str]) -> Markup:
    """Training above validation: the whole loss, then each task, with a line per fold.

    folds: name -> directory of its training; kinds: task -> kind.
    """
    read, missing = {}, []
    for fold, directory in folds.items():
        try:
            read[fold] = read_curves(directory / METRICS)
        except UserError as error:
            missing.append(str(error))
    parts = [paragraph(reason, class_="note") for reason in missing]
    if not read:
        return join(parts)
    parts.append(legend(list(read)))
    trained = [
        figure("loss, nats per utterance", "train loss", read),
        *(figure(f"{task}: loss, nats per token", f"train loss_{task}", read) for task in kinds),
    ]
    validated = [
        figure("loss, nats per utterance", "valid loss", read),
        *(figure(f"{task}: {ACCURACY[kind]}", f"valid accuracy_{task}", read, 1.0) for task, kind in kinds.items()),
        *(figure(f"{task}: UA", f"valid ua_{task}", read, 1.0) for task in kinds),  # of a category
    ]
    for title, drawn in (("Training", trained), ("Validation", validated)):
        parts += [element("h3", title), element("div", *drawn, class_="charts")]
    rows = summary(read, list(kinds))
    parts.append(
        element(
            "details", element("summary", "The curves' ends and best values as a table"), table(rows, "Learning curves")
        )
    )
    return join(parts)


def legend(folds: Sequence[str]) -> Markup:
    items = []
    for i, fold in enumerate(folds):
        mark = element(
            "svg",
            element("line", x1=0, y1=6, x2=28, y2=6, class_=f"line series-{i % charts.SERIES}"),
            width=28,
            height=12,
            aria_hidden="true",
        )
        items.append(element("li", mark, f" fold {fold}" if len(folds) > 1 else f" {fold}"))
    return element("ul", *items, class_="legend")


def figure(title: str, key: str, read: dict[str, Curves], high: float | None = None) -> Markup:
    """high: the end of the axis, by default that of the values."""
    lines = [
        charts.Line(f"fold {fold}", i, curves[key]) for i, (fold, curves) in enumerate(read.items()) if curves.get(key)
    ]
    if not lines:
        return Markup()
    ends = "; ".join(f"{line.name}: {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}" for line in lines)
    low = min(0.0, *(y for line in lines for _, y in line.points))  # below 0: CCC, or a WER above 1
    return element("figure", element("figcaption", title), charts.lines(f"{title}, {ends}", lines, low, high))


def summary(read: dict[str, Curves], tasks: Sequence[str]) -> list[list[str]]:
    rows = [
        [
            "fold",
            "last step",
            "last training loss",
            "lowest validation loss",
            *(f"best {task}, validation" for task in tasks),
        ]
    ]
    for fold, curves in read.items():
        steps = [points[-1][0] for points in curves.values()]
        train, valid = curves.get("train loss"), curves.get("valid loss")
        row = [fold, f"{max(steps):g}" if steps else UNDEFINED, f"{train[-1][1]:.3f}" if train else UNDEFINED]
        row.append(at_step(min(valid, key=lambda point: point[1])) if valid else UNDEFINED)
        for task in tasks:
            points = curves.get(f"valid accuracy_{task}")
            row.append(at_step(max(points, key=lambda point: point[1])) if points else UNDEFINED)
        rows.append(row)
    return rows


def at_step(point: tuple[float, float]) -> str:
    return f"{point[1]:.3f} at step {point[0]:g}"
