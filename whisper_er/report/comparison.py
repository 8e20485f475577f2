"""comparison.html: two experiments on the same utterances side by side, and what changed hands."""

import dataclasses
from pathlib import Path

from whisper_er.base.files import write_text
from whisper_er.report import scores
from whisper_er.report.audio import Sounds, gather
from whisper_er.report.experiment import about_utterances, clips_of, made_by
from whisper_er.report.markdown import comparison_rows, mcnemar_line
from whisper_er.report.markup import Markup, element, join, paragraph, table
from whisper_er.report.page import Section, page
from whisper_er.report.rows import UNDEFINED, caveats, columns_of, protocol_lines, unscaled
from whisper_er.report.utterances import Column, plain, table_data, task_column
from whisper_er.score.comparison import Comparison
from whisper_er.score.pairing import Pairs
from whisper_er.score.results import SetResult
from whisper_er.score.scoring import score_tasks
from whisper_er.task import Task

COMPARISON = "comparison.html"
CHANGED = "changed hands"  # what report.js calls the first choice of the filter `right`
Two = tuple[SetResult, SetResult]


def write_comparison(
    out_dir: Path,
    command: str,
    comparison: Comparison,
    names: tuple[str, str],
    results: Two,
    audio_mb: float,
) -> Sounds:
    """Write out_dir/comparison.html. results: of both, as they were compared. Returns what sound it has."""
    data, sounds = utterance_table(out_dir, comparison, names, results, audio_mb)
    sections = [
        Section("difference", f"Difference in {comparison.task.name}", difference(comparison, names)),
        Section("figures", "All figures", all_figures(names, results)),
    ]
    if comparison.task.kind == "category":
        sections.append(Section("confusion", "Confusion", matrices(comparison, names)))
    sections.append(Section("utterances", "Utterances", about_utterances(sounds)))
    about = join(
        [
            *(
                paragraph(f"{name}: ", line)
                for name, result in zip(names, results)
                for line in (*caveats(result), protocol_lines(result)[0])
            ),
            made_by([command]),
        ]
    )
    write_text(out_dir / COMPARISON, page(f"{names[1]} against {names[0]}", about, sections, data, sounds.embedded))
    return sounds


def difference(comparison: Comparison, names: tuple[str, str]) -> Markup:
    mcnemar, parts = comparison.mcnemar, []
    if mcnemar:
        parts = [paragraph(mcnemar_line(mcnemar, len(comparison.first.utt_ids), names))]
    note = (
        f"{'In percent; the' if mcnemar else 'The'} difference is {names[1]} minus {names[0]}, its interval and p by a "
        "paired bootstrap over utterances and over whole speakers. McNemar's test and the bootstrap by utterance take "
        "utterances for independent, which those of one speaker are not."
    )
    caption = f"Figures of {comparison.task.name} and their difference"
    return join([table(comparison_rows(comparison, names), caption), *parts, paragraph(note, class_="note")])


def all_figures(names: tuple[str, str], results: Two) -> Markup:
    """A row per experiment, pooled; what only one of them predicts is left open for the other."""
    columns = list(dict.fromkeys(column for result in results for column in columns_of(result.pooled.tasks)))
    rows = [["experiment", "utterances", *(column.title for column in columns)]]
    for name, result in zip(names, results):
        values = result.pooled.values
        shown = [
            column.show(values) if column.figure in values.get(column.task, {}) else UNDEFINED for column in columns
        ]
        rows.append([name, str(result.pooled.num_utterances), *shown])
    return join(
        [
            table(rows, "Pooled figures of both"),
            paragraph(f"In percent; {unscaled('scale', 'category')} as they are.", class_="note"),
        ]
    )


def matrices(comparison: Comparison, names: tuple[str, str]) -> Markup:
    """Both, of the utterances that were compared."""
    drawn = []
    for key, name, pairs in zip(("first", "second"), names, (comparison.first, comparison.second)):
        figures = score_tasks([comparison.task], pairs).tasks[comparison.task.name]
        drawn.append(element("div", element("h3", name), scores.confusion(figures, {}, key, "first")))
    note = paragraph("A cell is a button: it shows its utterances below.", class_="note")
    return join([note, element("div", *drawn, class_="matrices")])


def who_is_right(comparison: Comparison, names: tuple[str, str]) -> list[str]:
    """Of each utterance: both, neither, or only one of the two."""
    words = {
        (True, True): "both",
        (False, False): "neither",
        (True, False): f"only {names[0]}",
        (False, True): f"only {names[1]}",
    }
    first, second = (pairs.tasks[comparison.task.name].correct for pairs in (comparison.first, comparison.second))
    return [words[pair] for pair in zip(first, second)]


def changed_first(comparison: Comparison) -> list[int]:
    """What changed hands first, then what both have wrong; among each the second's most certain answers. Of a scale,
    where the second is furthest off."""
    first, second = (pairs.tasks[comparison.task.name] for pairs in (comparison.first, comparison.second))
    if not comparison.mcnemar:
        off = [abs(float(ref) - float(hyp)) for ref, hyp in zip(second.reference, second.hypothesis)]
        return sorted(range(len(off)), key=lambda i: -off[i])
    sure = second.confidence
    rank = {(False, True): 0, (True, False): 1, (False, False): 2, (True, True): 3}
    right = list(zip(first.correct, second.correct))
    return sorted(range(len(right)), key=lambda i: (rank[right[i]], -sure[i]))


def utterance_table(
    out_dir: Path, comparison: Comparison, names: tuple[str, str], results: Two, audio_mb: float
) -> tuple[dict, Sounds]:
    """All utterances that were compared; the page opens with those that changed hands."""
    task, first, second = comparison.task, comparison.first, comparison.second
    columns, order_name = [], f"where {names[1]} is furthest off"
    if comparison.mcnemar:
        right, filters, order_name = who_is_right(comparison, names), ("right",), "what changed hands first"
        columns.append(Column("right", "right", "plain", right, filters, [f"only {name}" for name in names], main=True))
    for key, name, pairs in zip(("first", "second"), names, (first, second)):
        shown = ("answer", "reference", "hypothesis") if key == "first" else ("answer", "hypothesis")
        columns.append(task_column(task, pairs.tasks[task.name], True, name, key, shown))
    if task.kind != "text":
        columns += transcripts(names, (first, second))
    columns += [
        plain("speaker", "speaker", first.speakers),
        *(plain(f"group-{name}", name, values) for name, values in first.groups.items()),
    ]
    order = changed_first(comparison)
    clip_of = {clip.utt_id: clip for result in reversed(results) for clip in clips_of(result)}
    sounds = gather([clip_of[first.utt_ids[i]] for i in order], out_dir, audio_mb)
    changed = {"right": CHANGED} if comparison.only_first or comparison.only_second else {}
    utt_ids = [first.utt_ids[i] for i in order]
    return table_data(columns, utt_ids, order, sounds.of_clip, order_name, changed), sounds


def transcripts(names: tuple[str, str], both: tuple[Pairs, Pairs]) -> list[Column]:
    """The reference, and among the details what each system with a text task heard."""
    columns = []
    for name, pairs in zip(names, both):
        for key, values in pairs.tasks.items():
            if values.reference_normalized:
                columns = columns or [plain("transcript", "transcript", values.reference, ())]
                heard = task_column(Task(key, "text"), values, False, f"{key}, {name}", f"{key}-{len(columns)}", ())
                columns.append(dataclasses.replace(heard, hidden=True))
    return columns
