"""exp/paper/REPORT.md: the paper's tables and figure with our figures beside them. Called by paper.sh.

What has not been scored is left open, so that the report may be written while cells are missing.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cells import INFERENCE_TAG, Cell, add_arguments, cells_of, read_config, state

from whisper_er import config as configuration
from whisper_er.base.files import write_text
from whisper_er.bin import run
from whisper_er.config import TrainConfig
from whisper_er.models.size import backbone_sizes, rounded, sized_model, trained_parameters
from whisper_er.report.markdown import bullets, changed_table, comparison_table, mcnemar_line, most_certain, table
from whisper_er.report.plots import save_confusion
from whisper_er.report.rows import UNDEFINED, interval, level_percent
from whisper_er.score.comparison import compare
from whisper_er.score.figures import CategoryFigures
from whisper_er.score.results import SetResult, collect, common_task
from whisper_er.task import Task

TABLE_2 = ("conventional", "stl_ser", "a_s", "g_s", "a_g_s")
TABLE_4 = ("zero_shot", "stl_ser", "stl_gr", "stl_asr", "a_s", "g_s", "a_g_s")
TABLE_5 = ("conventional", "random_decoder", "stl_ser")
TABLE_6 = {"conventional": "conventional", "a_g_s": "Whisper-ER"}
PAIRS = (
    ("conventional", "a_g_s"),
    ("conventional", "stl_ser"),
    ("stl_ser", "a_g_s"),
    ("stl_ser", "a_s"),
    ("stl_ser", "g_s"),
    ("random_decoder", "stl_ser"),
)
FIGURES = {
    "WA": ("emotion", "wa"),
    "UA": ("emotion", "ua"),
    "GR": ("gender", "wa"),
    "WER": ("asr", "wer"),
    "WER raw": ("asr", "wer_raw"),
}
NUM_LABELS = {"gender": 2, "emotion": 4}
ABOUT_TESTS = (
    "Exact McNemar test and paired bootstrap; of several seeds the first. McNemar's test and the bootstrap "
    "by utterance take utterances for independent, which those of one speaker are not."
)
SHOWN = 10  # utterances of Table 3


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
        return UNDEFINED if len(values) < 2 or None in values else mean_and_sd(values)

    def paper(self, title: str) -> str:
        return str(self.cell.system["paper"].get(self.cell.model_name, {}).get(title, UNDEFINED))


class Report:
    """The sections, in the paper's order. scored: system, model -> results."""

    def __init__(self, config: dict, scored: dict[tuple[str, str], Scored], figure_dir: Path) -> None:
        self.config, self.scored, self.figure_dir = config, scored, figure_dir
        self.whispers = list(dict.fromkeys(model for _, model in scored if "systems" not in config["models"][model]))

    def rows(self, systems: tuple[str, ...], titles: tuple[str, ...], folds: bool) -> str:
        """A row per model and system: ours, over the folds if asked for, the paper's."""
        head = [
            "system",
            "model",
            *titles,
            *(f"{title} over folds" for title in titles if folds),
            *(f"paper {title}" for title in titles if title != "WER raw"),
        ]
        rows = [head]
        for model in self.whispers:
            for system in systems:
                if one := self.scored.get((system, model)):
                    rows.append(
                        [
                            one.cell.system["title"],
                            model,
                            *(one.show(title) for title in titles),
                            *(one.over_folds(title) for title in titles if folds),
                            *(one.paper(title) for title in titles if title != "WER raw"),
                        ]
                    )
        return table(rows)

    def by_style(self) -> str:
        rows = [
            ["system", "model", *(f"{style} {title}" for style in ("improvised", "scripted") for title in ("WA", "UA"))]
        ]
        for one in self.scored.values():
            if "emotion" in one.cell.system["tasks"]:
                rows.append(
                    [
                        one.cell.system["title"],
                        one.cell.model_name,
                        *(one.show(title, style) for style in ("improvised", "scripted") for title in ("WA", "UA")),
                    ]
                )
        return table(rows)

    def table_6(self) -> str:
        rows = [["", "model", "trainable parameters", "", "paper"]]
        for model in self.whispers:
            for system, title in TABLE_6.items():
                if one := self.scored.get((system, model)):
                    count = parameters(one.cell)
                    rows.append([title, model, f"{count:,}", rounded(count), one.paper("parameters")])
        return table(rows)

    def figure_2(self) -> list[str]:
        rows = [["model", "taken for each other", "conventional", "A+G+S", "fall %", "paper"]]
        parts = []
        for model in self.whispers:
            systems = self.both("conventional", "a_g_s", model)
            if not systems:
                continue
            matrices = {one.cell.system["title"]: pooled_confusion(one) for one in systems}
            save_confusion(
                {f"{title}, {model}": figures for title, figures in matrices.items()},
                self.figure_dir / f"figure_2_{model}",
            )
            before, after = (errors(figures) for figures in matrices.values())
            for what, title in (("happy_angry", "happy and angry"), ("all", "all")):
                rows.append(
                    [
                        model,
                        title,
                        str(before[what]),
                        str(after[what]),
                        fall(before[what], after[what]),
                        str(self.config["figure_2"][what]),
                    ]
                )
            parts.append(f"![confusion matrices, {model}](figures/figure_2_{model}.png)")
        return [*parts, table(rows)]

    def table_3(self) -> list[str]:
        parts = []
        for model in self.whispers:
            if systems := self.both("conventional", "a_g_s", model):
                names = tuple(one.cell.system["title"] for one in systems)
                comparison = compare_first_seed(systems)
                shown = most_certain(comparison, comparison.only_second)[:SHOWN]
                parts += [
                    f"{model}: {len(comparison.only_second)} utterances, shown the {len(shown)} that A+G+S is "
                    "the most certain of.",
                    changed_table(comparison, shown, names),
                ]
        return parts

    def differences(self) -> list[str]:
        parts = []
        for model in self.whispers:
            for first, second in PAIRS:
                if systems := self.both(first, second, model):
                    names = tuple(f"{one.cell.system['title']}" for one in systems)
                    comparison = compare_first_seed(systems)
                    parts += [
                        f"### {names[1]} against {names[0]}, {model}",
                        comparison_table(comparison, names),
                        mcnemar_line(comparison, names),
                    ]
        return parts

    def both(self, first: str, second: str, model: str) -> list[Scored]:
        """Two systems on a model, if both have been scored."""
        systems = [self.scored[key] for key in ((first, model), (second, model)) if key in self.scored]
        return systems if len(systems) == 2 and all(one.runs for one in systems) else []

    def other_encoders(self) -> str:
        rows = [["encoder", "WA", "UA", "WA over folds", "UA over folds"]]
        for (system, model), one in self.scored.items():
            if system == "conventional":
                rows.append(
                    [
                        model,
                        *(one.show(title) for title in ("WA", "UA")),
                        *(one.over_folds(title) for title in ("WA", "UA")),
                    ]
                )
        return table(rows)

    def experiments(self) -> str:
        """A line per experiment: where it is, and which data trained, selected and tested its first fold."""
        lines = []
        for one in self.scored.values():
            for result in one.runs.values():
                fold, first = next(iter(result.folds.items()))
                lines.append(
                    f"{one.cell.system['title']}, {one.cell.model_name}: `{first.directory.parents[2]}`; fold "
                    f"{fold}: {first.result.about['protocol']}"
                )
        return bullets(lines)


def mean_and_sd(values: list[float]) -> str:
    """In percent, of shares of 1."""
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


def pooled_confusion(one: Scored) -> CategoryFigures:
    """The confusion of the emotions, added over the seeds; it has no other figure."""
    figures = [result.pooled.tasks["emotion"] for result in one.runs.values()]
    confusion = np.sum([seed.confusion for seed in figures], axis=0).tolist()
    return CategoryFigures(figures[0].task, confusion=confusion)


def errors(figures: CategoryFigures) -> dict[str, int]:
    """Utterances that are wrong: happy taken for angry or angry for happy, and all."""
    counts_CC, at = np.array(figures.confusion), {label: i for i, label in enumerate(figures.labels)}
    between = [
        counts_CC[at[ref], at[hyp]] for ref, hyp in (("happy", "angry"), ("angry", "happy")) if ref in at and hyp in at
    ]
    return {"happy_angry": int(sum(between)), "all": int(counts_CC.sum() - np.trace(counts_CC))}


def fall(before: int, after: int) -> str:
    return f"{100 * (before - after) / before:.1f}" if before else UNDEFINED


def compare_first_seed(systems: list[Scored]):
    results = [next(iter(one.runs.values())) for one in systems]
    return compare(common_task("emotion", results), *(result.pairs for result in results))


def parameters(cell: Cell) -> int:
    """Trained parameters of the cell's configuration; no weights are read."""
    config = configuration.load(TrainConfig, Path(cell.system["ser_config"]))
    config.model.whisper_model = cell.model["options"][1]
    tasks = [
        Task(name, "category", tuple(f"{name}{i}" for i in range(NUM_LABELS[name])))
        if name in NUM_LABELS
        else Task(name, "text")
        for name in cell.system["tasks"].split()
    ]
    return trained_parameters(sized_model(config, backbone_sizes(config.model), tasks))


def read_scored(cell: Cell, args: argparse.Namespace) -> Scored:
    folds = args.folds.split()
    if any(state(exp_dir / f"fold{fold}") != "scored" for exp_dir in cell.seed_dirs(args).values() for fold in folds):
        return Scored(cell, {})
    return Scored(
        cell,
        {seed: collect(exp_dir, folds, "test", INFERENCE_TAG)[0] for seed, exp_dir in cell.seed_dirs(args).items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--command", required=True, help="what made this, to be written down")
    args = parser.parse_args()
    config = read_config(args.paper_config)
    scored = {
        (cell.system_name, cell.model_name): read_scored(cell, args)
        for cell in cells_of(config, args.systems, args.models)
    }
    out_dir = Path(args.expdir, "paper")
    report = Report(config, scored, out_dir / "figures")
    missing = [one.cell.tag for one in scored.values() if not one.runs]
    several = len(args.seeds.split()) > 1
    how = "mean ± sd over the seeds" if several else f"{level_percent()} bootstrap interval by speaker"
    sections = {
        "Table 2: emotion": [report.rows(TABLE_2, ("WA", "UA"), folds=True)],
        "Table 4: the tasks": [report.rows(TABLE_4, ("WA", "UA", "GR", "WER", "WER raw"), folds=False)],
        "Table 5: what the pretrained decoder is worth": [report.rows(TABLE_5, ("WA", "UA"), folds=False)],
        "Table 6: trainable parameters": [report.table_6()],
        "Figure 2: confusions": report.figure_2(),
        "Table 3: right in A+G+S, wrong in the conventional method": report.table_3(),
        "Differences": [ABOUT_TESTS, *report.differences()],
        "Improvised and scripted": [report.by_style()],
        "Beyond the paper: the conventional method on other encoders": [report.other_encoders()],
        "Experiments": [report.experiments()],
    }
    head = [
        "# IEMOCAP: ours beside the paper's",
        "Generated, not to be edited, by",
        f"    {args.command}",
        f"Figures in percent, over all folds' utterances together ({how}); a dash: not scored, or not in the "
        "paper. Folds, calibration, environment and commands of an experiment: its RESULTS.md.",
        *([f"Not yet scored: {', '.join(missing)}."] if missing else []),
    ]
    parts = [part for title, body in sections.items() for part in (f"## {title}", *body)]
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(out_dir / "REPORT.md", "\n\n".join([*head, *parts]) + "\n")
    print(f"{len(scored) - len(missing)} of {len(scored)} cells are scored; report: {out_dir / 'REPORT.md'}")


if __name__ == "__main__":
    run(main)
