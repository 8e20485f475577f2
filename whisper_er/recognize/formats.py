"""Recognitions as text: a readable line, JSON lines, CSV, SRT subtitles; words as CTM, emotions over time as RTTM."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from whisper_er.base.errors import printable
from whisper_er.recognize.result import Recognition, Segment, clock
from whisper_er.task import Task
from whisper_er.timing.spans import Span, Word


def as_text(recognition: Recognition) -> str:
    """A line for the recording; where it has several utterances, one more for each."""
    if not recognition.segments:
        lines = [f"{recognition.name}: silence"]
    elif len(recognition.segments) == 1:
        lines = [f"{recognition.name}: {answers(recognition)}  {recognition.text}"]
    else:
        lines = [
            f"{recognition.name}: {answers(recognition)}  ({len(recognition.segments)} utterances in "
            f"{clock(recognition.duration)})"
        ]
        lines += [f"  {clock(s.start, 1)} to {clock(s.end, 1)}: {answers(s)}  {s.text}" for s in recognition.segments]
    return "".join(printable(line.rstrip()) + "\n" for line in lines)


def answers(result: Recognition | Segment) -> str:
    """Labels and scales in a line: emotion=happy (92 %) valence=3.10"""
    words = [
        f"{task}={result.labels[task]} ({100 * probabilities[result.labels[task]]:.0f} %)"
        if task in result.labels
        else f"{task}={result.scales[task]:.2f}"
        for task, probabilities in result.probabilities.items()
    ]
    return " ".join(words)


def as_json(recognition: Recognition) -> str:
    """Recognition.to_dict as one line of JSON."""
    return json.dumps(recognition.to_dict(), ensure_ascii=False) + "\n"


def csv_header(tasks: Sequence[Task]) -> str:
    columns = ["file", "start", "end", "text"]
    for task in tasks:
        if task.kind != "text":
            columns += [task.name, *(f"p({task.name}={label})" for label in task.labels)]
    return csv_lines([columns])


def as_csv(recognition: Recognition) -> str:
    """A row for each utterance, in the columns of csv_header; silence gives one with the file alone."""
    rows = [] if recognition.segments else [[recognition.name, "", "", ""]]
    for s in recognition.segments:
        row = [recognition.name, f"{s.start:.3f}", f"{s.end:.3f}", s.text]
        for task, probabilities in s.probabilities.items():
            row += [s.labels.get(task) or f"{s.scales[task]:.4f}", *(f"{p:.6f}" for p in probabilities.values())]
        rows.append(row)
    return csv_lines(rows)


def csv_lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[printable(cell) for cell in row] for row in rows])
    return text.getvalue()


def as_srt(recognition: Recognition) -> str:
    """A subtitle for each utterance: its answers, and below them its text."""
    blocks = []
    for number, s in enumerate(recognition.segments, start=1):
        labels = " ".join(value for value in (*s.labels.values(), *(f"{t} {v:.1f}" for t, v in s.scales.items())))
        blocks.append(f"{number}\n{srt_time(s.start)} --> {srt_time(s.end)}\n[{labels}] {s.text}".rstrip() + "\n")
    return "\n".join(blocks)


def srt_time(seconds: float) -> str:
    """00:01:02,345"""
    milliseconds = round(seconds * 1000)
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{rest:03d}"


def as_ctm(recognition: Recognition) -> str:
    """A line for each word, as NIST's and Kaldi's tools read it: recording, channel, start, duration, word."""
    words = [word for segment in recognition.segments for word in segment.words or ()]
    name = recording_id(recognition.name)
    return "".join(printable(f"{name} 1 {start_and_length(w, 2)} {w.text}") + "\n" for w in words)


def as_rttm(recognition: Recognition) -> str:
    """A line for each stretch of one emotion, with its probability, in the fields of NIST's RTTM for speakers."""
    spans = [span for segment in recognition.segments for span in segment.emotions or ()]
    name = recording_id(recognition.name)
    lines = [f"SPEAKER {name} 1 {start_and_length(s, 3)} <NA> <NA> {s.label} {s.probability:.4f} <NA>" for s in spans]
    return "".join(printable(line) + "\n" for line in lines)


def start_and_length(one: Word | Span, digits: int) -> str:
    """Seconds, of which the sum is the end as it is rounded itself: neighbours do not overlap."""
    start, end = round(one.start, digits), round(one.end, digits)
    return f"{start:.{digits}f} {end - start:.{digits}f}"


def recording_id(path: str) -> str:
    """The file's name without its ending, as one word."""
    return "_".join(Path(path).stem.split())
