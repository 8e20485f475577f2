"""One experiment's figures over its folds and seeds: each, mean and sample standard deviation, and pooled.

Pooled figures are those of all folds' utterances together, not an average.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.plain_files import misfit, parse_json, read_plain, reason
from whisper_er.score.figure import Values
from whisper_er.score.pairing import Pairs, check_answers, pool, read_pairs
from whisper_er.score.scoring import UTTERANCES, SetScore, json_text, score_pairs
from whisper_er.task import TEXT_TASK, Task

RESULT = Path("score", "result.json")  # in a hypothesis directory
ABOUT_SHAPE = {
    "protocol": str, "decoding": {str: (str, float, bool, None)}, "training": {"command": [str]},
}  # fmt: skip
NORMALIZER_SHAPE = {"text_normalizer": {"language": str, "spellings": int}}  # where there is text
REMEDY = "run stage 6 again"
WHOLE = "all"  # the name of the one row where there are no folds


@dataclass(frozen=True)
class Result:
    """What result.json holds. about: how the hypotheses came about, as it is written."""

    about: dict
    score: SetScore

    def to_json(self) -> dict:
        return self.about | self.score.to_json()


@dataclass(frozen=True)
class FoldResult:
    """What scoring left of one fold: the directory, result.json and utterances.jsonl."""

    directory: Path
    result: Result
    pairs: Pairs


@dataclass(frozen=True)
class SetResult:
    """One test set decoded in one way. name: decode_<inference_tag>/<test_set>.

    mean, sd: task -> figures over the folds; None for one fold.
    """

    name: str
    folds: dict[str, FoldResult]
    pairs: Pairs
    pooled: SetScore
    mean: dict[str, Values] | None
    sd: dict[str, Values] | None

    @property
    def tasks(self) -> list[Task]:
        """With the labels of all folds."""
        return [figures.task for figures in self.pooled.tasks.values()]

    def to_json(self) -> dict:
        folds = {fold: part.result.to_json() for fold, part in self.folds.items()}
        return {"folds": folds, "mean": self.mean, "sd": self.sd, "pooled": self.pooled.to_json()}


def collect(exp_dir: Path, folds: Sequence[str], test_set: str, inference_tag: str) -> list[SetResult]:
    """Read every fold's scores of a test set; one result per way of decoding that all folds were scored with."""
    fold_dirs = {fold: exp_dir / f"fold{fold}" for fold in folds} or {WHOLE: exp_dir}
    if inference_tag:
        tags = [f"decode_{inference_tag}"]
    else:
        tags = complete_tags(list(fold_dirs.values()), test_set)
    if not tags:
        where = " ".join(map(str, fold_dirs.values()))
        raise UserError(f"{test_set}: no decode_*/{test_set}/{RESULT} exists in all of {where}; run stages 5 and 6")
    return [
        summarize(f"{tag}/{test_set}", {fold: read_fold(d / tag / test_set) for fold, d in fold_dirs.items()})
        for tag in tags
    ]


def over_seeds(seeds: Mapping[str, Sequence[SetResult]]) -> dict[str, dict[str, SetResult]]:
    """The sets that every seed has, by name: the result of each seed. UserError where they have none in common."""
    named = {seed: {result.name: result for result in results} for seed, results in seeds.items()}
    shared = [name for name in next(iter(named.values())) if all(name in results for results in named.values())]
    if not shared:
        found = "; ".join(f"{seed}: {' '.join(results)}" for seed, results in named.items())
        raise UserError(f"no test set was decoded in the same way with every seed ({found}); run stages 5 and 6")
    return {name: {seed: results[name] for seed, results in named.items()} for name in shared}


def complete_tags(fold_dirs: Sequence[Path], test_set: str) -> list[str]:
    def tags(fold_dir: Path) -> set[str]:
        return {path.name for path in fold_dir.glob("decode_*") if (path / test_set / RESULT).is_file()}

    return sorted(set.intersection(*map(tags, fold_dirs)))


def read_fold(directory: Path) -> FoldResult:
    path = directory / RESULT
    if not path.is_file():
        raise UserError(f"{path}: no such file; run stages 5 and 6 for it")
    result, pairs = read_result(path), read_pairs(path.with_name(UTTERANCES))
    if [*result.score.tasks] != [*pairs.tasks] or [*result.score.groups] != [*pairs.groups]:
        raise UserError(f"{path}: other tasks or groups than {UTTERANCES} beside it; {REMEDY}")
    for figures in result.score.tasks.values():
        check_answers(figures.task, path.with_name(UTTERANCES), pairs)
    return FoldResult(directory, result, pairs)


def read_result(path: Path) -> Result:
    """What scoring wrote; what is used of it is there and has its type."""
    what = "what scoring writes"
    content = read_plain(parse_json, path, ABOUT_SHAPE, what, REMEDY)
    try:
        json_text(content).encode()  # it becomes a part of the experiment's result.json, which has no NaN
        score = SetScore.from_json(content)
        problem = misfit(content, NORMALIZER_SHAPE) if TEXT_TASK in score.tasks else ""
    except (ValueError, RecursionError) as error:
        problem = reason(error)
    if problem:
        raise UserError(f"{path}: not {what} ({problem}); {REMEDY}")
    scored = [one.name for one in fields(SetScore)]
    return Result({key: value for key, value in content.items() if key not in scored}, score)


def summarize(name: str, folds: dict[str, FoldResult]) -> SetResult:
    first = next(iter(folds.values()))
    scores = [part.result.score for part in folds.values()]
    for part in folds.values():
        for what, option in (("tasks", "--tasks"), ("groups", "--score_by")):
            if scored(part)[what] != scored(first)[what]:
                raise UserError(
                    f"{part.directory / RESULT}: other {what} than {first.directory / RESULT}; "
                    f"score all folds with the same {option}"
                )
    pooled = pool([(part.directory, part.pairs) for part in folds.values()])
    tasks = [merge([score.tasks[task].task for score in scores]) for task in scores[0].tasks]
    runs, several = [score.values for score in scores], len(folds) > 1
    return SetResult(
        name,
        folds,
        pooled,
        score_pairs(tasks, pooled),
        over(runs, statistics.mean) if several else None,
        over(runs, statistics.stdev) if several else None,
    )


def scored(part: FoldResult) -> dict[str, list]:
    """What all folds have to agree in."""
    score = part.result.score
    return {"tasks": [(name, one.task.kind) for name, one in score.tasks.items()], "groups": list(score.groups)}


def merge(tasks: Sequence[Task]) -> Task:
    """One task with the labels of all folds: a fold's token list has those of its own training set."""
    return replace(tasks[0], labels=tuple(dict.fromkeys(label for task in tasks for label in task.labels)))


def common_task(name: str, results: Sequence[SetResult]) -> Task:
    """One task, with the labels of all folds of all these results."""
    for result in results:
        if name not in result.pooled.tasks:
            raise UserError(
                f"--task {name}: {result.name} was scored without it; it has {' '.join(result.pooled.tasks)}"
            )
    return merge([result.pooled.tasks[name].task for result in results])


def over(runs: Sequence[Mapping[str, Values]], statistic: Callable[[list[float]], float]) -> dict[str, Values]:
    """A statistic over folds or seeds of every task's figures; None where a figure is undefined in one of them."""
    return {
        task: {
            name: None if any(run[task][name] is None for run in runs) else statistic([run[task][name] for run in runs])
            for name in values
        }
        for task, values in runs[0].items()
    }
