"""Score one hypothesis directory against its reference, paired by utterance id.

    result.json       figures per task, ids of unlabelled utterances, how the hypotheses came about
    utterances.jsonl  beside it: reference and hypothesis of every utterance; folds are pooled from it
A figure that is not defined is null.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisper_er import metrics
from whisper_er.atomic import write_text
from whisper_er.errors import UserError, first_few
from whisper_er.kaldi import Table, read_table
from whisper_er.parts import PROTOCOL
from whisper_er.task import Task, to_number
from whisper_er.text_normalizer import TextNormalizer

UTTERANCES = "utterances.jsonl"


@dataclass(frozen=True)
class TaskPairs:
    """One task's values, all in the order of `utt_ids`. The normalised texts are there for a text task only."""

    utt_ids: tuple[str, ...]
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    reference_normalized: tuple[str, ...] = ()
    hypothesis_normalized: tuple[str, ...] = ()

    @property
    def unlabelled(self) -> tuple[str, ...]:
        return tuple(utt_id for utt_id, ref in zip(self.utt_ids, self.reference) if not ref)

    def labelled(self) -> tuple[list[str], list[str]]:
        """Reference and hypothesis of the utterances that have a label."""
        kept = [(ref, hyp) for ref, hyp in zip(self.reference, self.hypothesis) if ref]
        return [ref for ref, _ in kept], [hyp for _, hyp in kept]


Pairs = dict[str, TaskPairs]  # task name -> its pairs, the same utterances for every task


def choose_tasks(listed: Sequence[Task], names: Sequence[str]) -> list[Task]:
    """The tasks of a token list by name, in the order of the names."""
    by_name = {task.name: task for task in listed}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        what = f"the token list has no task '{unknown[0]}'" if unknown else "no task is named"
        raise UserError(f"--tasks: {what}; allowed: {' '.join(by_name)}")
    return [by_name[name] for name in names]


def pair_directories(ref_dir: Path, hyp_dir: Path, tasks: Sequence[Task], normalize: TextNormalizer) -> Pairs:
    """Pair every task's table by utterance id, sorted.

    UserError: an id that only one table has, a hypothesis without a label, a label outside the task's labels.
    """
    first = ref_dir / tasks[0].table
    utterances = read_table(first)
    if not utterances:
        raise UserError(f"{first}: no utterance; there is nothing to score")
    pairs = {}
    for task in tasks:
        ref_path, hyp_path = ref_dir / task.table, hyp_dir / task.table
        ref, hyp = read_table(ref_path), read_table(hyp_path)
        check_same_ids(first, utterances, ref_path, ref)
        check_same_ids(ref_path, ref, hyp_path, hyp)
        check_values(task, ref_path, ref, may_be_empty=True)
        check_values(task, hyp_path, hyp, may_be_empty=False)
        pairs[task.name] = pair_tables(ref, hyp, normalize if task.kind == "text" else None)
    return pairs


def pair_tables(ref: Table, hyp: Table, normalize: TextNormalizer | None) -> TaskPairs:
    utt_ids = tuple(sorted(ref))
    columns = [tuple(table[utt_id] for utt_id in utt_ids) for table in (ref, hyp)]
    if normalize:
        columns += [tuple(map(normalize, column)) for column in columns]
    return TaskPairs(utt_ids, *columns)


def check_same_ids(wanted_path: Path, wanted: Table, found_path: Path, found: Table) -> None:
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing:
        raise UserError(f"{found_path}: missing {first_few(missing)}, which {wanted_path} has; "
                        "both must list the same utterances (decode the set again?)")
    if extra:
        raise UserError(f"{found_path}: {first_few(extra)} not in {wanted_path}; "
                        "both must list the same utterances (decoded another set?)")


def check_values(task: Task, path: Path, table: Table, may_be_empty: bool) -> None:
    if task.kind == "text":
        return
    for utt_id, value in table.items():
        if not value and not may_be_empty:
            raise UserError(f"{path}: {utt_id} has no value; every utterance needs one, decode the set again")
        if value and task.kind == "category" and value not in task.labels:
            raise UserError(f"{path}: {utt_id} has the label '{value}', which is not in the token list; "
                            f"allowed: {' '.join(task.labels)}")
        if value and task.kind == "scale" and not math.isfinite(to_number(value, f"{path}: {utt_id}")):
            raise UserError(f"{path}: {utt_id} has the value '{value}'; a scale needs a finite number")


def score_pairs(tasks: Iterable[Task], pairs: Pairs) -> dict:
    """Figures of every task: {"num_utterances": int, "tasks": {name: figures}}, as result.json holds them."""
    score_kind = {"category": category_figures, "text": text_figures, "scale": scale_figures}
    figures = {task.name: {"kind": task.kind, **score_kind[task.kind](task, pairs[task.name])} for task in tasks}
    return {"num_utterances": len(next(iter(pairs.values())).utt_ids), "tasks": figures}


def category_figures(task: Task, pairs: TaskPairs) -> dict:
    score = metrics.score_categories(*pairs.labelled(), task.labels)
    interval = metrics.bootstrap_intervals(score)
    return {
        "wa": defined(score.wa),
        "ua": defined(score.ua),
        "macro_f1": defined(score.macro_f1),
        "wa_interval": [defined(interval.wa.low), defined(interval.wa.high)],
        "ua_interval": [defined(interval.ua.low), defined(interval.ua.high)],
        "num_scored": score.num_utterances,
        "unlabelled": list(pairs.unlabelled),
        "recall": dict(zip(score.labels, map(defined, score.recall))),
        "labels": list(score.labels),
        "confusion": score.confusion.tolist(),
    }


def text_figures(task: Task, pairs: TaskPairs) -> dict:
    """An empty transcript is a reference like any other: no utterance is left out."""
    normalized = metrics.count_word_errors(pairs.reference_normalized, pairs.hypothesis_normalized)
    raw = metrics.count_word_errors(pairs.reference, pairs.hypothesis)
    return {
        "wer": defined(normalized.wer),
        "wer_raw": defined(raw.wer),
        "num_scored": len(pairs.utt_ids),
        "unlabelled": [],
        "normalized": vars(normalized) | {"reference_words": normalized.reference_words},
        "raw": vars(raw) | {"reference_words": raw.reference_words},
    }


def scale_figures(task: Task, pairs: TaskPairs) -> dict:
    ref, hyp = pairs.labelled()
    score = metrics.score_scale([float(value) for value in ref], [float(value) for value in hyp])
    unlabelled = list(pairs.unlabelled)
    return {"ccc": defined(score.ccc), "mae": defined(score.mae), "num_scored": len(ref), "unlabelled": unlabelled}


def defined(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)


def read_protocol(hyp_dir: Path) -> dict | None:
    """How the hypotheses came about: what decoding left in decode.json, as it is; None where it left nothing."""
    path = hyp_dir / PROTOCOL
    return read_json(path) if path.is_file() else None


def write_score(result_path: Path, result: Mapping, pairs: Pairs) -> None:
    """Write result.json and utterances.jsonl beside it; the result comes last, so that it vouches for both."""
    result_path.parent.mkdir(parents=True, exist_ok=True)
    write_text(result_path.with_name(UTTERANCES), "".join(json.dumps(line) + "\n" for line in utterance_lines(pairs)))
    write_text(result_path, to_json(result))


def utterance_lines(pairs: Pairs) -> list[dict]:
    lines = [{"utt_id": utt_id, "tasks": {}} for utt_id in next(iter(pairs.values())).utt_ids]
    for name, task_pairs in pairs.items():
        columns = {key: column for key, column in vars(task_pairs).items() if key != "utt_ids" and column}
        for i, line in enumerate(lines):
            line["tasks"][name] = {key: column[i] for key, column in columns.items()}
    return lines


def read_pairs(path: Path) -> Pairs:
    """Read utterances.jsonl."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run stage 6 again")
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        utt_ids = tuple(line["utt_id"] for line in lines)
        rows = {name: [line["tasks"][name] for line in lines] for name in lines[0]["tasks"]}
        return {
            name: TaskPairs(utt_ids, **{key: tuple(row[key] for row in task_rows) for key in task_rows[0]})
            for name, task_rows in rows.items()
        }
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path}: not what scoring writes ({error}); run stage 6 again") from error


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); run the stage that writes it again") from error


def to_json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
