"""Figures as PNG and SVG. matplotlib is an extra of the package (viz); without it nothing is drawn, which is said."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whisper_er.recognize.result import Recognition, clock
from whisper_er.score.figures import CategoryFigures
from whisper_er.score.metrics import ratio

MOST_CLASSES = 20  # a larger confusion matrix cannot be read
INCH_PER_CLASS = 0.75
SEED = "whisper_er"  # of the names inside an SVG: the same figure is the same file
PLAIN = {"svg.hashsalt": SEED, "svg.fonttype": "none", "text.parse_math": False}  # a label may hold two dollars


def save_confusion(systems: Mapping[str, CategoryFigures], path: Path) -> None:
    """Confusion matrices of one task side by side, rows in percent with counts below, to path.png and path.svg."""
    if not (matplotlib := find_matplotlib(path.with_name(path.name + ".png"))):
        return
    from matplotlib.figure import Figure

    size = INCH_PER_CLASS * max(len(figures.answers) for figures in systems.values()) + 1.8
    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(size * len(systems), size), layout="constrained")
        for axes, (title, figures) in zip(figure.subplots(1, len(systems), squeeze=False)[0], systems.items()):
            draw_confusion(axes, title, figures.labels, figures.answers, np.array(figures.confusion))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path.with_name(path.name + ".png"), dpi=150, metadata={"Software": None})
        figure.savefig(path.with_name(path.name + ".svg"), metadata={"Date": None})


def find_matplotlib(path: Path) -> Any:
    """The module; None where it is not installed, which is said."""
    try:
        import matplotlib
    except ImportError:
        print(f"matplotlib is not installed: {path} is not drawn (whisper_er[viz])", file=sys.stderr)
        return None
    return matplotlib


def save_timeline(recognition: Recognition, task: str, path: Path) -> None:
    """A category's probabilities over a recording as PNG: stacked, an utterance a column, pauses empty."""
    if not (matplotlib := find_matplotlib(path)):
        return
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    starts = [segment.start for segment in recognition.segments]
    widths = [segment.end - segment.start for segment in recognition.segments]
    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(10, 2.6), layout="constrained")
        axes = figure.subplots()
        below = np.zeros(len(starts))
        for label in recognition.probabilities.get(task, ()):
            share = np.array([segment.probabilities[task][label] for segment in recognition.segments])
            axes.bar(starts, share, widths, below, align="edge", label=label, linewidth=0)
            below += share
        axes.set_xlim(0, recognition.duration)
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
        axes.set_ylabel(f"probability of {task}")
        axes.set_title(Path(recognition.name).name, fontsize=10)
        if starts:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, reverse=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, metadata={"Software": None})


def draw_confusion(axes, title: str, labels: Sequence[str], answers: Sequence[str], counts_CA: np.ndarray) -> None:
    percent_CA = 100 * ratio(counts_CA, counts_CA.sum(axis=1, keepdims=True))
    axes.imshow(np.nan_to_num(percent_CA), cmap="Blues", vmin=0, vmax=100)
    for (row, column), percent in np.ndenumerate(percent_CA):
        share = "–" if np.isnan(percent) else f"{percent:.1f}"
        axes.text(
            column,
            row,
            f"{share}\n({counts_CA[row, column]})",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if percent > 60 else "black",
        )
    axes.set_xticks(range(len(answers)), answers, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("hypothesis")
    axes.set_ylabel("reference")
    axes.set_title(title, fontsize=10)
