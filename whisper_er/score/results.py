"""One experiment's figures over its folds and seeds: each, mean and sample standard deviation, and pooled.

Pooled figures are those of all folds' utterances together, not an average.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.plain_files import misfit, parse_json, read_plain
from whisper_er.score.pairing import Pairs, check_answers, pool, read_pairs
from whisper_er.score.scoring import UTTERANCES, score_pairs, to_json
from whisper_er.task import TEXT_TASK, Task, check_task

RESULT = Path("score", "result.json")  # in a hypothesis directory
MEAN_FIGURES = {
    "category": ("wa", "ua", "macro_f1", "ece", "nll"),
    "text": ("wer", "wer_raw"),
    "scale": ("ccc", "mae"),
}
RESULT_SHAPE = {
    "num_utterances": int, "protocol": str, "decoding": {str: (str, float, bool, None)}, "groups": {str: {}},
    "training": {"command": [str]}, "tasks": {str: {"kind": tuple(MEAN_FIGURES)}},
}  # fmt: skip
NORMALIZER_SHAPE = {"text_normalizer": {"language": str, "spellings": int}}  # where there is text
REMEDY = "run stage 6 again"
WHOLE = "all"  # the name of the one row where there are no folds


@dataclass(frozen=True)
class FoldResult:
    """What scoring left of one fold: the directory, result.json and utterances.jsonl."""

    directory: Path
    result: dict
    pairs: Pairs


@dataclass(frozen=True)
class SetResult:
    """One test set decoded in one way. name: decode_<inference_tag>/<test_set>; mean, sd: None for one fold."""

    name: str
    folds: dict[str, FoldResult]
    pairs: Pairs
    pooled: dict
    mean: dict | None
    sd: dict | None

    def to_dict(self) -> dict:
        folds = {fold: part.result for fold, part in self.folds.items()}
        return {"folds": folds, "mean": self.mean, "sd": self.sd, "pooled": self.pooled}


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


def complete_tags(fold_dirs: Sequence[Path], test_set: str) -> list[str]:
    def found(fold_dir: Path) -> set[str]:
        return {path.name for path in fold_dir.glob("decode_*") if (path / test_set / RESULT).is_file()}

    return sorted(set.intersection(*map(found, fold_dirs)))


def read_fold(directory: Path) -> FoldResult:
    path = directory / RESULT
    if not path.is_file():
        raise UserError(f"{path}: no such file; run stages 5 and 6 for it")
    result, pairs = read_result(path), read_pairs(path.with_name(UTTERANCES))
    if [*result["tasks"]] != [*pairs.tasks] or [*result["groups"]] != [*pairs.groups]:
        raise UserError(f"{path}: other tasks or groups than {UTTERANCES} beside it; {REMEDY}")
    for task in pool_tasks([result]):
        check_answers(task, path.with_name(UTTERANCES), pairs)
    return FoldResult(directory, result, pairs)


def read_result(path: Path) -> dict:
    """What scoring wrote; what is used of it is there and has its type."""
    what = "what scoring writes"
    result = read_plain(parse_json, path, RESULT_SHAPE, what, REMEDY)
    problems = [] if TEXT_TASK not in result["tasks"] else [misfit(result, NORMALIZER_SHAPE)]
    for name, figures in result["tasks"].items():
        shape = dict.fromkeys(MEAN_FIGURES[figures["kind"]], (float, None))
        labels = {"labels": [str]} if figures["kind"] == "category" else {}
        problems.append(misfit(figures, shape | labels, f"'{name}'"))
    try:
        to_json(result).encode()  # it becomes a part of the experiment's result.json, which has no NaN
        for task in () if any(problems) else pool_tasks([result]):
            if task.kind != "scale":  # whose labels are not written
                check_task(task, "tasks")
    except (ValueError, RecursionError) as error:
        problems.append(str(error))
    if any(problems):
        raise UserError(f"{path}: not {what} ({next(filter(None, problems))}); {REMEDY}")
    return result


def summarize(name: str, folds: dict[str, FoldResult]) -> SetResult:
    first = next(iter(folds.values()))
    for part in folds.values():
        for what, option in (("tasks", "--tasks"), ("groups", "--score_by")):
            if list(part.result[what]) != list(first.result[what]):
                raise UserError(
                    f"{part.directory / RESULT}: other {what} than {first.directory / RESULT}; "
                    f"score all folds with the same {option}"
                )
    results = [part.result for part in folds.values()]
    pooled = pool([(part.directory, part.pairs) for part in folds.values()])
    several = len(folds) > 1
    return SetResult(
        name,
        folds,
        pooled,
        score_pairs(pool_tasks(results), pooled),
        over([result["tasks"] for result in results], statistics.mean) if several else None,
        over([result["tasks"] for result in results], statistics.stdev) if several else None,
    )


def pool_tasks(results: Sequence[dict]) -> list[Task]:
    """The tasks with the labels of all folds: a fold's token list has those of its own training set."""
    tasks = []
    for name, figures in results[0]["tasks"].items():
        labels = dict.fromkeys(label for r in results for label in r["tasks"][name].get("labels", ()))
        tasks.append(Task(name, figures["kind"], tuple(labels)))
    return tasks


def common_task(name: str, results: Sequence[SetResult]) -> Task:
    """One task, with the labels of all folds of all these results."""
    for result in results:
        if name not in result.pooled["tasks"]:
            raise UserError(
                f"--task {name}: {result.name} was scored without it; it has {' '.join(result.pooled['tasks'])}"
            )
    folds = [{"tasks": {name: fold.result["tasks"][name]}} for result in results for fold in result.folds.values()]
    return pool_tasks(folds)[0]


def over(runs: Sequence[dict], statistic: Callable[[list[float]], float]) -> dict:
    """A statistic over folds or seeds of every figure that is a number; null where one has it not defined.

    runs: task -> figures, of each.
    """
    return {
        name: {
            key: statistic([tasks[name][key] for tasks in runs])
            if all(tasks[name][key] is not None for tasks in runs)
            else None
            for key in MEAN_FIGURES[figures["kind"]]
        }
        for name, figures in runs[0].items()
    }
