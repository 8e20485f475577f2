"""What report.js makes the table of utterances from: columns, rows in their default order, sound.

A column: key, title, kind, and filters, its choices. The value of a row is by kind
    plain     text
    category  [reference, hypothesis, posterior]: positions in labels, -1 for no label; probabilities or null
    text      [reference, hypothesis, word errors, parts]: both as written, the normalised alignment or null if equal
    scale     [reference, hypothesis, |difference| or null]: as written
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

from whisper_er.score.metrics import count_errors
from whisper_er.score.pairing import Pairs, TaskPairs
from whisper_er.task import Task

PROBABILITY_DIGITS = 4


@dataclass(frozen=True)
class Column:
    """filters: of plain, `value`, or `right`, which knows what changed hands (labels); of the others some of `answer`,
    `reference`, `hypothesis`. main: filters that are always in sight; hidden: values that only the details have.
    """

    key: str
    title: str
    kind: str
    values: Sequence[object]
    filters: Sequence[str] = ()
    labels: Sequence[str] = ()
    main: bool = False
    hidden: bool = False


def plain(key: str, title: str, values: Sequence[str], filters: Sequence[str] = ("value",)) -> Column:
    return Column(key, title, "plain", values, filters, main=True)


def task_column(
    task: Task,
    values: TaskPairs,
    main: bool,
    title: str = "",
    key: str = "",
    filters: Sequence[str] = ("answer", "reference", "hypothesis"),
) -> Column:
    key, title = key or f"task-{task.name}", title or task.name
    if task.kind == "category":
        return Column(key, title, "category", category_values(task, values), filters, task.labels, main)
    if task.kind == "text":
        filters = [name for name in filters if name == "answer"]
        return Column(key, title, "text", text_values(values), filters, main=main)
    return Column(key, title, "scale", scale_values(values), main=main)


def category_values(task: Task, values: TaskPairs) -> list[list]:
    at = {label: i for i, label in enumerate(task.labels)}
    posteriors = values.posterior or [None] * len(values.reference)
    return [
        [
            at.get(ref, -1),
            at[hyp] if hyp else -1,
            posterior and [round(posterior.get(label, 0.0), PROBABILITY_DIGITS) for label in task.labels],
        ]
        for ref, hyp, posterior in zip(values.reference, values.hypothesis, posteriors)
    ]


def text_values(values: TaskPairs) -> list[list]:
    """Words are aligned as WER counts them."""
    aligned = jiwer.process_words(list(values.reference_normalized), list(values.hypothesis_normalized))
    rows = []
    for i, chunks in enumerate(aligned.alignments):
        errors = sum(map(count_errors, chunks))
        parts = [part for chunk in chunks for part in marked(chunk, aligned.references[i], aligned.hypotheses[i])]
        rows.append([values.reference[i], values.hypothesis[i], errors, parts if errors else None])
    return rows


def marked(chunk: jiwer.AlignmentChunk, reference: Sequence[str], hypothesis: Sequence[str]) -> list[list[str]]:
    """["=", words] for what is right, ["-", words] for what was said and not heard, ["+", words] for what was heard."""
    said = " ".join(reference[chunk.ref_start_idx : chunk.ref_end_idx])
    heard = " ".join(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx])
    if chunk.type == "equal":
        return [["=", said]]
    return [[mark, words] for mark, words in (("-", said), ("+", heard)) if words]


def scale_values(values: TaskPairs) -> list[list]:
    return [
        [ref, hyp, round(abs(float(ref) - float(hyp)), 4) if ref and hyp else None]
        for ref, hyp in zip(values.reference, values.hypothesis)
    ]


def error_keys(task: Task, pairs: Pairs) -> list[tuple[int, float]]:
    """What sorts errors in a task first, the most certain or furthest off at the top; then the others, those without a
    label last. Among what is right, the least certain comes first."""
    values = pairs.tasks.get(task.name)
    if values is None:
        return [(3, 0.0)] * len(pairs.utt_ids)
    if task.kind == "text":
        return [(0, -row[2]) for row in text_values(values)]
    if task.kind == "scale":
        return [(2, 0.0) if row[2] is None else (0, -row[2]) for row in scale_values(values)]
    keys = []
    for reference, hypothesis, sure in zip(values.reference, values.hypothesis, values.confidence):
        if not reference:
            keys.append((2, -sure))
        else:
            keys.append((1, sure) if reference == hypothesis else (0, -sure))
    return keys


def table_data(
    columns: Sequence[Column],
    names: Sequence[str],
    order: Sequence[int],
    sounds: Sequence[object],
    order_name: str,
    first: dict[str, str] | None = None,
) -> dict:
    """order: positions in the columns; names, ids, and sounds (audio.py) are in that order already.

    order_name: what the order is called; first: filters that are set when the page opens.
    """
    return {
        "columns": [
            {
                "key": c.key,
                "title": c.title,
                "kind": c.kind,
                "filters": list(c.filters),
                "labels": list(c.labels),
                "main": c.main,
                "hidden": c.hidden,
            }
            for c in columns
        ],
        "rows": [[name, *(column.values[i] for column in columns)] for name, i in zip(names, order)],
        "sounds": list(sounds),
        "order": order_name,
        "first": first or {},
    }
