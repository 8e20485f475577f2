"""Figures of paired utterances, of every task and group, and the files that hold them.

result.json       figures per task and group, ids of unlabelled utterances, how the hypotheses came about
utterances.jsonl  beside it: reference and hypothesis of every utterance; folds are pooled from it
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.base.plain_files import misfit
from whisper_er.score.figure import Figures, Values
from whisper_er.score.figures import FIGURES
from whisper_er.score.pairing import Pairs, to_lines
from whisper_er.task import Task

UTTERANCES = "utterances.jsonl"


@dataclass(frozen=True)
class PartScore:
    """Figures by task, of some utterances. num_speakers: None where an older version has not counted them."""

    num_utterances: int
    num_speakers: int | None
    tasks: dict[str, Figures]

    @property
    def values(self) -> dict[str, Values]:
        return {name: figures.values for name, figures in self.tasks.items()}

    def to_json(self) -> dict:
        tasks = {name: figures.to_json() for name, figures in self.tasks.items()}
        return {"num_utterances": self.num_utterances, "num_speakers": self.num_speakers, "tasks": tasks}

    @classmethod
    def from_json(cls, content: Mapping) -> "PartScore":
        """ValueError for what scoring does not write."""
        shape = {"num_utterances": int, "tasks": {str: {"kind": tuple(FIGURES)}}}
        if problem := misfit(content, shape) or misfit(content.get("num_speakers"), (int, None), "'num_speakers'"):
            raise ValueError(problem)
        tasks = {name: FIGURES[task["kind"]].from_json(name, task) for name, task in content["tasks"].items()}
        return cls(content["num_utterances"], content.get("num_speakers"), tasks)


@dataclass(frozen=True)
class SetScore(PartScore):
    """Of all utterances of a set. groups: such as style -> improvised -> figures of its utterances."""

    groups: dict[str, dict[str, PartScore]]

    def to_json(self) -> dict:
        groups = {name: {value: part.to_json() for value, part in parts.items()} for name, parts in self.groups.items()}
        return super().to_json() | {"groups": groups}

    @classmethod
    def from_json(cls, content: Mapping) -> "SetScore":
        """ValueError for what scoring does not write."""
        if problem := misfit(content, {"groups": {str: {str: {}}}}):
            raise ValueError(problem)
        groups = {
            name: {value: PartScore.from_json(part) for value, part in parts.items()}
            for name, parts in content["groups"].items()
        }
        return cls(**vars(PartScore.from_json(content)), groups=groups)


def choose_tasks(listed: Sequence[Task], names: Sequence[str]) -> list[Task]:
    """The tasks of a token list by name, in the order of the names."""
    by_name = {task.name: task for task in listed}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        what = f"the token list has no task '{unknown[0]}'" if unknown else "no task is named"
        raise UserError(f"--tasks: {what}; allowed: {' '.join(by_name)}")
    return [by_name[name] for name in names]


def score_pairs(tasks: Sequence[Task], pairs: Pairs) -> SetScore:
    """Figures of every task, for all utterances and for those of each value of each group."""
    groups = {}
    for name, column in pairs.groups.items():
        positions = {value: [i for i, other in enumerate(column) if other == value] for value in sorted(set(column))}
        groups[name] = {value: score_tasks(tasks, pairs.select(chosen)) for value, chosen in positions.items()}
    return SetScore(**vars(score_tasks(tasks, pairs)), groups=groups)


def score_tasks(tasks: Iterable[Task], pairs: Pairs) -> PartScore:
    figures = {task.name: FIGURES[task.kind].of(task, pairs) for task in tasks}
    return PartScore(len(pairs.utt_ids), len(set(pairs.speakers)), figures)


def write_score(result_path: Path, result: Mapping, pairs: Pairs) -> None:
    """Write result.json and utterances.jsonl beside it; the result comes last, so that it vouches for both."""
    result_path.parent.mkdir(parents=True, exist_ok=True)
    write_text(result_path.with_name(UTTERANCES), to_lines(pairs))
    write_text(result_path, json_text(result))


def json_text(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
