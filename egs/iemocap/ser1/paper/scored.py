"""The results of a cell, as the report's tables show them."""

import argparse
from dataclasses import dataclass

from cells import HYPOTHESES, INFERENCE_TAG, Cell

from whisper_er.report.rows import UNDEFINED, interval, mean_and_sd
from whisper_er.score.comparison import Comparison, compare
from whisper_er.score.results import SetResult, collect, common_task
from whisper_er.train.experiment import fold_state

FIGURES = {
    "WA": ("emotion", "wa"),
    "UA": ("emotion", "ua"),
    "GR": ("gender", "wa"),
    "WER": ("asr", "wer"),
    "WER raw": ("asr", "wer_raw"),
}


@dataclass(frozen=True)
class Scored:
    """A cell and its results, one per seed; none while a fold is missing."""

    cell: Cell
    runs: dict[str, SetResult]

    def show(self, title: str, style: str = "") -> str:
        """A pooled figure with its interval by speaker; of several seeds mean ± sd. style: of its utterances alone."""
        task, figure = FIGURES[title]
        pooled = [result.pooled for result in self.runs.values()]
        parts = [score.groups.get("style", {}).get(style) for score in pooled] if style else pooled
        values = [part and part.values.get(task, {}).get(figure) for part in parts]
        if not values or None in values:
            return UNDEFINED
        if len(values) > 1:
            return mean_and_sd(values)
        ends = parts[0].tasks[task].intervals["speaker"].get(figure)
        return f"{100 * values[0]:.1f}" + (f" ({interval(ends)})" if ends else "")

    def over_folds(self, title: str) -> str:
        """Mean ± sd over the folds of all seeds."""
        task, figure = FIGURES[title]
        values = [
            fold.result.score.values.get(task, {}).get(figure)
            for result in self.runs.values()
            for fold in result.folds.values()
        ]
        return mean_and_sd(values)

    def paper(self, title: str) -> str:
        return str(self.cell.system["paper"].get(self.cell.model_name, {}).get(title, UNDEFINED))


class Results:
    """Those of all cells that were asked for, by system and model."""

    def __init__(self, config: dict, cells: dict[tuple[str, str], Scored]) -> None:
        self.config, self.cells = config, cells
        self.whispers = list(dict.fromkeys(model for _, model in cells if "systems" not in config["models"][model]))

    def both(self, first: str, second: str, model: str) -> list[Scored]:
        """Two systems on a model, if both have been scored."""
        systems = [self.cells[key] for key in ((first, model), (second, model)) if key in self.cells]
        return systems if len(systems) == 2 and all(one.runs for one in systems) else []


def compare_first_seed(systems: list[Scored]) -> Comparison:
    """Two systems by emotion; of several seeds the first."""
    results = [next(iter(one.runs.values())) for one in systems]
    return compare(common_task("emotion", results), *(result.pairs for result in results))


def read_scored(cell: Cell, args: argparse.Namespace) -> Scored:
    folds = args.folds.split()
    fold_dirs = [exp_dir / f"fold{fold}" for exp_dir in cell.seed_dirs(args).values() for fold in folds]
    if any(fold_state(fold_dir, HYPOTHESES) != "scored" for fold_dir in fold_dirs):
        return Scored(cell, {})
    return Scored(
        cell,
        {seed: collect(exp_dir, folds, "test", INFERENCE_TAG)[0] for seed, exp_dir in cell.seed_dirs(args).items()},
    )
