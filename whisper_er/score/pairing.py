"""References and hypotheses of the same utterances, paired by id; utterances.jsonl keeps them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.plain_files import misfit, parse_json_lines, read_plain
from whisper_er.data.kaldi import Table, label_table, read_table
from whisper_er.data.votes import Votes, known_votes, votes_table
from whisper_er.score.hypotheses import check_same_ids, read_posteriors
from whisper_er.score.metrics import count_distances
from whisper_er.task import Task, to_number
from whisper_er.text.conventions import CONVENTIONS, Text, Writing

# A line of utterances.jsonl, and what it has of a task.
LINE = {"utt_id": str, "speaker": str, "groups": {str: str}, "tasks": {str: {}}}
COLUMNS = {"reference": str, "hypothesis": str}
OPTIONAL = {
    "reference_normalized": str, "hypothesis_normalized": str,
    "word_errors": {str: {"errors": float, "words": float}}, "posterior": {str: float}, "unseen": str,
    "votes": {str: float},
}  # fmt: skip
COUNTED = tuple(name for name in CONVENTIONS if name not in ("wer", "wer_raw"))  # those come from the texts themselves


@dataclass(frozen=True)
class TaskPairs:
    """One task's values, one per utterance; of a category or scale an empty reference is no label, and an empty
    hypothesis no answer.

    The normalised texts are there for a text task only, as is word_errors: of each convention in COUNTED the errors and
    the words of the reference; posterior, label -> probability, for a category that was decoded with one; unseen, for
    an open task: the label that training lacks, which is no reference, or ""; votes, label -> count, for a category
    whose references have a table of them.
    """

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    reference_normalized: tuple[str, ...] = ()
    hypothesis_normalized: tuple[str, ...] = ()
    word_errors: tuple[dict[str, dict[str, int]], ...] = ()
    posterior: tuple[dict[str, float], ...] = ()
    unseen: tuple[str, ...] = ()
    votes: tuple[Votes, ...] = ()

    def select(self, positions: Sequence[int]) -> "TaskPairs":
        return TaskPairs(
            **{name: tuple(column[i] for i in positions) if column else () for name, column in vars(self).items()}
        )

    @property
    def correct(self) -> tuple[bool, ...]:
        """Of a text: no word error after normalisation."""
        if self.reference_normalized:
            return tuple(ref == hyp for ref, hyp in zip(self.reference_normalized, self.hypothesis_normalized))
        return tuple(ref == hyp for ref, hyp in zip(self.reference, self.hypothesis))

    @property
    def confidence(self) -> tuple[float, ...]:
        """The posterior of each answer; 0 without an answer, and where decoding left no posterior."""
        if not self.posterior:
            return (0.0,) * len(self.hypothesis)
        return tuple(posterior[hyp] if hyp else 0.0 for posterior, hyp in zip(self.posterior, self.hypothesis))

    @property
    def answered(self) -> list[int]:
        """Positions of the utterances that have an answer."""
        return [i for i, hyp in enumerate(self.hypothesis) if hyp]


@dataclass(frozen=True)
class Pairs:
    """The utterances of a test set, all columns in the order of utt_ids.

    groups: name -> value of each utterance, such as style -> improvised; tasks: name -> values.
    """

    utt_ids: tuple[str, ...]
    speakers: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    tasks: dict[str, TaskPairs]

    def select(self, positions: Sequence[int]) -> "Pairs":
        """The utterances at these positions."""

        def chosen(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in positions)

        groups = {name: chosen(column) for name, column in self.groups.items()}
        tasks = {name: pairs.select(positions) for name, pairs in self.tasks.items()}
        return Pairs(chosen(self.utt_ids), chosen(self.speakers), groups, tasks)

    def among(self, utt_ids: Sequence[str]) -> "Pairs":
        """The utterances that have one of these ids."""
        wanted = set(utt_ids)
        return self.select([i for i, utt_id in enumerate(self.utt_ids) if utt_id in wanted])

    def labelled(self, task: str) -> "Pairs":
        """The utterances that have a label for a category or scale; an empty text is a text."""
        return self.select([i for i, ref in enumerate(self.tasks[task].reference) if ref])


def pair_directories(
    ref_dir: Path,
    hyp_dir: Path,
    tasks: Sequence[Task],
    writing: Writing,
    groups: Sequence[str] = (),
    writings: Mapping[str, Writing] | None = None,
) -> Pairs:
    """Pair every task's table by utterance id, sorted. groups: tables utt2<name> of ref_dir to score by; writings: of
    utterances whose writing is another one, by id.

    UserError: an id that only one table has, a label outside the task's labels (but for a reference of an open task).
    """
    first = ref_dir / label_table(ref_dir, tasks[0].table)
    utterances = read_table(first)
    if not utterances:
        raise UserError(f"{first}: no utterance; there is nothing to score")
    utt_ids = sorted(utterances)
    spoken_by, *grouped = (read_column(ref_dir / f"utt2{name}", first, utterances) for name in ("spk", *groups))
    posteriors = read_posteriors(hyp_dir, first, utterances, tasks)
    pairs = {}
    for task in tasks:
        ref_path, hyp_path = ref_dir / label_table(ref_dir, task.table), hyp_dir / task.table
        ref, hyp = read_table(ref_path), read_table(hyp_path)
        check_same_ids(first, utterances, ref_path, ref)
        check_same_ids(ref_path, ref, hyp_path, hyp)
        known = {utt_id: task.known(value) for utt_id, value in ref.items()}
        check_values(task, ref_path, known)
        check_values(task, hyp_path, hyp)
        written = [(writings or {}).get(utt_id, writing) for utt_id in utt_ids]
        pairs[task.name] = pair_tables(task, utt_ids, known, hyp, written, posteriors)
        if task.open:
            unseen = tuple("" if known[utt_id] else ref[utt_id] for utt_id in utt_ids)
            pairs[task.name] = replace(pairs[task.name], unseen=unseen)
        path = ref_dir / votes_table(task)
        if task.kind == "category" and path.is_file():
            table = read_table(path)
            check_same_ids(ref_path, ref, path, table)
            votes = known_votes(path, table, task)
            pairs[task.name] = replace(pairs[task.name], votes=tuple(votes[utt_id] for utt_id in utt_ids))
    return Pairs(tuple(utt_ids), spoken_by, dict(zip(groups, grouped)), pairs)


def pair_tables(
    task: Task, utt_ids: Sequence[str], ref: Table, hyp: Table, written: Sequence[Writing], posteriors: dict[str, dict]
) -> TaskPairs:
    columns = [tuple(table[utt_id] for utt_id in utt_ids) for table in (ref, hyp)]
    if task.kind == "text":
        texts = [tuple(writing.text(value) for writing, value in zip(written, column)) for column in columns]
        columns += [tuple(text.normalized for text in side) for side in texts]
        columns.append(count_by_convention(*texts))
    posterior = ()
    if task.kind == "category" and posteriors and task.name in posteriors[utt_ids[0]]:
        posterior = tuple(posteriors[utt_id][task.name] for utt_id in utt_ids)
    return TaskPairs(*columns, posterior=posterior)


def count_by_convention(reference: Sequence[Text], hypothesis: Sequence[Text]) -> tuple[dict[str, dict[str, int]], ...]:
    """Of each utterance the errors and the words of the reference, by convention."""
    counts_of = {}
    for name in COUNTED:
        ref, hyp = (map(CONVENTIONS[name].words, side) for side in (reference, hypothesis))
        counts_of[name] = count_distances(ref, hyp).tolist()
    return tuple(
        {name: {"errors": errors, "words": words} for name, (errors, words) in zip(counts_of, counts)}
        for counts in zip(*counts_of.values())
    )


def read_column(path: Path, wanted_path: Path, wanted: Table) -> tuple[str, ...]:
    """A table's values in the order of the sorted ids; every utterance has one."""
    table = read_table(path)
    check_same_ids(wanted_path, wanted, path, table)
    empty = sorted(utt_id for utt_id, value in table.items() if not value)
    if empty:
        raise UserError(f"{path}: {first_few(empty)} without a value; every utterance needs one to be scored by it")
    return tuple(table[utt_id] for utt_id in sorted(wanted))


def check_values(task: Task, path: Path, table: Table) -> None:
    if task.kind == "text":
        return
    for utt_id, value in table.items():
        if value and task.kind == "category" and value not in task.labels:
            raise UserError(
                f"{path}: {utt_id} has the label '{value}', which is not in the token list; "
                f"allowed: {' '.join(task.labels)}"
            )
        if value and task.kind == "scale" and not math.isfinite(to_number(value, f"{path}: {utt_id}")):
            raise UserError(f"{path}: {utt_id} has the value '{value}'; a scale needs a finite number")


def to_lines(pairs: Pairs) -> str:
    """The content of utterances.jsonl."""
    lines = []
    for i, (utt_id, speaker) in enumerate(zip(pairs.utt_ids, pairs.speakers)):
        tasks = {
            name: {key: column[i] for key, column in vars(task).items() if column} for name, task in pairs.tasks.items()
        }
        groups = {name: column[i] for name, column in pairs.groups.items()}
        lines.append(json.dumps({"utt_id": utt_id, "speaker": speaker, "groups": groups, "tasks": tasks}) + "\n")
    return "".join(lines)


def read_pairs(path: Path) -> Pairs:
    """Read utterances.jsonl."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run stage 6 again")
    what, remedy = "what scoring writes", "run stage 6 again"
    lines = read_plain(parse_json_lines, path, [LINE], what, remedy)
    if not lines:
        raise UserError(f"{path}: not {what} (it is empty); {remedy}")
    fields = {
        name: COLUMNS | {key: OPTIONAL[key] for key in OPTIONAL if key in task}
        for name, task in lines[0]["tasks"].items()
    }
    groups = dict.fromkeys(lines[0]["groups"], str)
    if problem := misfit(lines, [{"tasks": fields, "groups": groups}]):
        raise UserError(f"{path}: not {what} ({problem}); {remedy}")
    columns = {
        name: TaskPairs(**{key: tuple(line["tasks"][name][key] for line in lines) for key in keys})
        for name, keys in fields.items()
    }
    utt_ids, speakers = (tuple(line[key] for line in lines) for key in ("utt_id", "speaker"))
    return Pairs(utt_ids, speakers, {name: tuple(line["groups"][name] for line in lines) for name in groups}, columns)


def check_answers(task: Task, path: Path, pairs: Pairs) -> None:
    """UserError where the values of a file are not the task's."""
    own = pairs.tasks[task.name]
    for column in (own.reference, own.hypothesis):
        check_values(task, path, dict(zip(pairs.utt_ids, column)))
    if task.kind == "text" and not own.reference_normalized:
        raise UserError(f"{path}: {task.name} has no normalised text; run stage 6 again")
    for utt_id, votes in zip(pairs.utt_ids, own.votes):
        if any(label not in task.labels or count <= 0 for label, count in votes.items()):
            raise UserError(f"{path}: {utt_id} has votes {votes} of {task.name}; run stage 6 again")
    for utt_id, hypothesis, posterior in zip(pairs.utt_ids, own.hypothesis, own.posterior):
        if hypothesis and hypothesis not in posterior:
            raise UserError(f"{path}: {utt_id} has no posterior of '{hypothesis}'; run stage 6 again")


def pool(parts: Sequence[tuple[Path, Pairs]]) -> Pairs:
    """The utterances of several test sets as one. UserError: an utterance in two; the paths are for the message."""
    seen: dict[str, Path] = {}
    for path, pairs in parts:
        double = [utt_id for utt_id in pairs.utt_ids if utt_id in seen]
        if double:
            raise UserError(
                f"{path}: {first_few(double)} tested in {seen[double[0]]} as well; "
                "the test sets of the folds must not overlap"
            )
        seen.update(dict.fromkeys(pairs.utt_ids, path))

    def joined(columns: Sequence[tuple]) -> tuple:
        return tuple(value for column in columns for value in column) if all(columns) else ()

    all_pairs = [pairs for _, pairs in parts]
    tasks = {
        name: TaskPairs(
            **{key: joined([getattr(pairs.tasks[name], key) for pairs in all_pairs]) for key in vars(first)}
        )
        for name, first in all_pairs[0].tasks.items()
    }
    groups = {name: joined([pairs.groups[name] for pairs in all_pairs]) for name in all_pairs[0].groups}
    utt_ids, speakers = (joined([getattr(pairs, key) for pairs in all_pairs]) for key in ("utt_ids", "speakers"))
    return Pairs(utt_ids, speakers, groups, tasks)
