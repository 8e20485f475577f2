"""One experiment's figures over its folds: per fold, mean and sample standard deviation, and pooled.

Pooled figures are those of all folds' utterances together, not an average.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_er.errors import UserError, first_few
from whisper_er.scoring import UTTERANCES, Pairs, TaskPairs, read_json, read_pairs, score_pairs
from whisper_er.task import Task

RESULT = Path("score", "result.json")  # in a hypothesis directory
MEAN_FIGURES = {"category": ("wa", "ua", "macro_f1"), "text": ("wer", "wer_raw"), "scale": ("ccc", "mae")}
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
    return FoldResult(directory, read_json(path), read_pairs(path.with_name(UTTERANCES)))


def summarize(name: str, folds: dict[str, FoldResult]) -> SetResult:
    first = next(iter(folds.values()))
    for part in folds.values():
        if list(part.result["tasks"]) != list(first.result["tasks"]):
            raise UserError(f"{part.directory / RESULT}: other tasks than {first.directory / RESULT}; "
                            "score all folds with the same --tasks")
    results = [part.result for part in folds.values()]
    several = len(folds) > 1
    return SetResult(
        name,
        folds,
        score_pairs(pool_tasks(results), pool_pairs(list(folds.values()))),
        over_folds(results, statistics.mean) if several else None,
        over_folds(results, statistics.stdev) if several else None,
    )


def pool_tasks(results: Sequence[dict]) -> list[Task]:
    """The tasks with the labels of all folds: a fold's token list has those of its own training set."""
    tasks = []
    for name, figures in results[0]["tasks"].items():
        labels = dict.fromkeys(label for r in results for label in r["tasks"][name].get("labels", ()))
        tasks.append(Task(name, figures["kind"], tuple(labels)))
    return tasks


def pool_pairs(folds: Sequence[FoldResult]) -> Pairs:
    seen: dict[str, Path] = {}
    for part in folds:
        utt_ids = next(iter(part.pairs.values())).utt_ids
        double = [utt_id for utt_id in utt_ids if utt_id in seen]
        if double:
            raise UserError(f"{part.directory}: {first_few(double)} tested in {seen[double[0]]} as well; "
                            "the test sets of the folds must not overlap")
        seen.update(dict.fromkeys(utt_ids, part.directory))
    return {
        name: TaskPairs(**{
            column: tuple(value for part in folds for value in getattr(part.pairs[name], column))
            for column in vars(folds[0].pairs[name])
        })
        for name in folds[0].pairs
    }


def over_folds(results: Sequence[dict], statistic: Callable[[list[float]], float]) -> dict:
    """A statistic over the folds of every figure that is a number; null where a fold has it not defined."""
    first = results[0]["tasks"]
    return {
        name: {
            key: statistic([r["tasks"][name][key] for r in results])
            if all(r["tasks"][name][key] is not None for r in results)
            else None
            for key in MEAN_FIGURES[figures["kind"]]
        }
        for name, figures in first.items()
    }
