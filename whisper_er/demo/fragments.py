"""What the demo page shows beside gradio's own components, as HTML. Everything that comes from a recording, a model or
a file's name is escaped."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_er.recognize.result import Recognition, Segment, clock
from whisper_er.report.markup import Markup, element, paragraph, scrolling, table
from whisper_er.report.plots import save_timeline
from whisper_er.task import Task


def facts(tasks: Iterable[Task], language: str) -> Markup:
    """What the model says of a recording: its tasks with their labels."""
    rows = [[task.name, f"transcript ({language})" if task.kind == "text" else answers_of(task)] for task in tasks]
    return table([["task", "possible answers"], *rows], "What the model answers")


def answers_of(task: Task) -> str:
    return f"a number from {task.labels[0]} to {task.labels[-1]}" if task.kind == "scale" else ", ".join(task.labels)


def summary(recognition: Recognition) -> Markup:
    """Which recording the result is of."""
    utterances = len(recognition.segments)
    parts = f", {utterances} utterances; what follows is of all of them together" if utterances > 1 else ""
    return paragraph(element("b", Path(recognition.name).name), f", {clock(recognition.duration, 1)}{parts}")


def utterances(recognition: Recognition, tasks: Sequence[Task]) -> Markup:
    """A row for each utterance: when, every label with its probability, text."""
    answered = [task for task in tasks if task.kind != "text"]
    text = ["text"] if len(answered) < len(tasks) else []
    rows = [
        [f"{clock(s.start, 1)}–{clock(s.end, 1)}", *(answer(s, task) for task in answered), *([s.text] if text else [])]
        for s in recognition.segments
    ]
    return table([["from–to", *(task.name for task in answered), *text], *rows], "Utterances")


def answer(segment: Segment, task: Task) -> str:
    if task.kind == "scale":
        return f"{segment.scales[task.name]:.2f}"
    label = segment.labels[task.name]
    return f"{label} {100 * segment.probabilities[task.name][label]:.0f} %"


def timeline(recognition: Recognition, task: str) -> Markup:
    """The figure inside the page itself: no file of it stays. "" where matplotlib is not installed."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "timeline.png"
        save_timeline(recognition, task, path)
        if not path.is_file():
            return Markup()
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    title = f"Probabilities of {task} over the recording"
    return scrolling(
        element("img", src=f"data:image/png;base64,{data}", alt=f"{title}; the table holds the same"), title
    )
