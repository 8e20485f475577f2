"""Charts as inline SVG. Colours are classes of report.css, so that they follow the reader's colour scheme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_er.report.markup import Markup, element
from whisper_er.score.bootstrap import Interval
from whisper_er.score.calibration import ReliabilityBin

SERIES = 6  # colours and dash patterns of report.css; a seventh line looks like the first
MOST_POINTS = 500  # of a line; more cannot be told apart


@dataclass(frozen=True)
class Line:
    """name: in the legend; style: which colour and dash; points: (x, y), rising in x, all finite."""

    name: str
    style: int
    points: Sequence[tuple[float, float]]


def svg(width: float, height: float, name: str, *children: Markup, class_: str = "chart") -> Markup:
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=name,
        class_=class_,
        width=f"{width:g}",
        height=f"{height:g}",
    )


def rule(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


def label(x: float, y: float, text: str, class_: str = "tick") -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", class_=class_)


def interval(share: float | None, by_utterance: Interval, by_speaker: Interval) -> Markup:
    """A figure between 0 and 100 % with both intervals; the table beside it has the numbers. What is more is cut."""
    width, height = 260, 18

    def x(value: float) -> float:
        return 4 + (width - 8) * min(max(value, 0), 1)

    marks = [rule(x(tick), 2, x(tick), height - 2, "grid") for tick in (0, 0.25, 0.5, 0.75, 1)]
    for ends, class_ in ((by_speaker, "thin"), (by_utterance, "thick")):
        if not math.isnan(ends.low):
            marks.append(rule(x(ends.low), height / 2, x(ends.high), height / 2, class_))
    if share is not None:
        marks.append(rule(x(share), 2, x(share), height - 2, "figure"))
    return element(
        "svg",
        *marks,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        aria_hidden="true",
        class_="interval",
    )


def reliability(task: str, bins: Sequence[ReliabilityBin]) -> Markup:
    """Accuracy over mean confidence, bars per bin, with the number of utterances below."""
    size, left, top, low, gap = 220, 40, 8, 44, 26
    most = max((one.count for one in bins), default=0) or 1
    x = [left + size * one.low for one in bins]
    wide = size / len(bins)
    marks = [rule(left, top + size * (1 - tick), left + size, top + size * (1 - tick), "grid") for tick in (0, 0.5, 1)]
    marks += [label(left - 6, top + size * (1 - tick) + 4, f"{100 * tick:.0f}", "tick end") for tick in (0, 0.5, 1)]
    base = top + size + gap + low
    for start, one in zip(x, bins):
        if one.count:
            tall = size * one.accuracy
            marks.append(bar(start, top + size - tall, wide, tall, "bar"))
            x_mean, y_mean = left + size * one.confidence, top + size * (1 - one.confidence)
            marks.append(rule(x_mean - wide / 2, y_mean, x_mean + wide / 2, y_mean, "said"))
            part = low * one.count / most
            marks.append(bar(start, base - part, wide, part, "bar count"))
    marks.append(rule(left, top + size, left + size, top, "diagonal"))
    marks += [label(left + size * tick, top + size + 15, f"{100 * tick:.0f}", "tick middle") for tick in (0, 0.5, 1)]
    marks += [
        rule(left, base, left + size, base, "grid"),
        label(left - 6, base - low + 8, f"{most:.0f}", "tick end"),
        label(left + size / 2, base + 15, "confidence, % · below: utterances", "tick middle"),
    ]
    shown = [one for one in bins if one.count]
    name = (
        f"Reliability of {task}: accuracy against confidence in {len(shown)} bins, from "
        f"{sum(one.count for one in shown)} utterances; the table below has the numbers"
    )
    return svg(left + size + 12, base + 22, name, *marks)


def bar(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    return element(
        "rect",
        x=f"{x + 0.5:.1f}",
        y=f"{y:.1f}",
        width=f"{max(width - 1, 0.5):.1f}",
        height=f"{height:.1f}",
        class_=class_,
    )


def lines(name: str, shown: Sequence[Line], low: float | None = None, high: float | None = None) -> Markup:
    """Lines over training steps. low, high: the ends of the axis, by default those of the values."""
    width, height, left, top = 220, 130, 38, 8
    points = [point for line in shown for point in line.points]
    last = max((x for x, _ in points), default=1) or 1
    values = [y for _, y in points] or [0.0]
    low, high = min(values) if low is None else low, max(values) if high is None else high
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def place(point: tuple[float, float]) -> str:
        down = (high - min(max(point[1], low), high)) / (high - low)
        return f"{left + width * point[0] / last:.1f},{top + height * down:.1f}"

    marks = []
    for tick in ticks:
        y = top + height * (high - tick) / (high - low)
        marks += [rule(left, y, left + width, y, "grid"), label(left - 6, y + 4, f"{tick:g}", "tick end")]
    marks += [
        label(left, top + height + 16, "0", "tick middle"),
        label(left + width, top + height + 16, f"step {last:g}", "tick end"),
    ]
    for line in shown:
        points = line.points[:: -(-len(line.points) // MOST_POINTS) or 1]
        class_ = f"line series-{line.style % SERIES}"
        if len(points) == 1:
            x, y = place(points[0]).split(",")
            marks.append(element("circle", cx=x, cy=y, r=3, class_=class_))
        marks.append(
            element("polyline", element("title", line.name), points=" ".join(map(place, points)), class_=class_)
        )
    return svg(left + width + 12, top + height + 24, name, *marks)


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that span the values."""
    spread = high - low if high > low else max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(spread / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if spread / (power * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, max(last, first + 1) + 1)]
