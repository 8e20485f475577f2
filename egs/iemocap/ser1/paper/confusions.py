"""Figure 2 and Table 3: what the conventional method confuses and Whisper-ER does not, happy and angry above all.

The paper compares with "SerialMTL" and does not say which of its three systems: each is compared here.
"""

from pathlib import Path

import numpy as np
from scored import Results, Scored, compare_first_seed

from whisper_er.report.markdown import changed_table, most_certain, table
from whisper_er.report.plots import save_confusion
from whisper_er.report.rows import UNDEFINED
from whisper_er.score.comparison import Comparison
from whisper_er.score.figures import CategoryFigures
from whisper_er.score.pairing import TaskPairs

SERIAL_MTL = ("a_s", "g_s", "a_g_s")
CONFUSED = {"happy", "angry"}
SHOWN = 5  # utterances of Table 3 per system
ABOUT_FIGURE_2 = (
    "The paper does not say which SerialMTL system it compares. Its Table 2 (large-v3) allows all errors to fall by "
    "15.1 to 15.9 % for A+S, 14.0 to 14.7 for G+S, 17.1 to 17.8 for A+G+S."
)


def figure_2(results: Results, figure_dir: Path) -> list[str]:
    """Drawn per model, and how far each system's errors fall below those of the conventional method."""
    rows = [["model", "system", "taken for each other", "conventional", "Whisper-ER", "fall %", "paper"]]
    pictures = []
    for model in results.whispers:
        paper = results.config["figure_2"].get(model, {})
        matrices = {}
        for conventional, system in pairs(results, model):
            for one in (conventional, system):
                matrices[f"{one.cell.system['title']}, {model}"] = pooled_confusion(one)
            before, after = errors(conventional), errors(system)
            for what, title in (("happy_angry", "happy and angry"), ("all", "all")):
                figures = [str(before[what]), str(after[what]), fall(before[what], after[what])]
                rows.append([model, system.cell.system["title"], title, *figures, str(paper.get(what, UNDEFINED))])
        if matrices:
            save_confusion(matrices, figure_dir / f"figure_2_{model}")
            pictures.append(f"![confusion matrices, {model}](figures/figure_2_{model}.png)")
    return [*pictures, ABOUT_FIGURE_2, table(rows)]


def table_3(results: Results) -> list[str]:
    """Happy and angry that the conventional method takes for each other and a SerialMTL system does not."""
    parts = []
    for model in results.whispers:
        for systems in pairs(results, model):
            names = tuple(one.cell.system["title"] for one in systems)
            comparison = compare_first_seed(systems)
            mended = mended_confusions(comparison)
            shown = most_certain(comparison, mended)[:SHOWN]
            parts += [
                f"{names[1]}, {model}: {len(mended)} utterances; the {len(shown)} that it is the most certain of:",
                changed_table(comparison, shown, names),
            ]
    return parts


def pairs(results: Results, model: str) -> list[list[Scored]]:
    """The conventional method and each SerialMTL system that has been scored."""
    found = (results.both("conventional", system, model) for system in SERIAL_MTL)
    return [systems for systems in found if systems]


def mended_confusions(comparison: Comparison) -> list[int]:
    """Positions of the utterances that the first system confuses so, and the second has right."""
    confused = confuses(comparison.first.tasks[comparison.task.name])
    return [i for i in comparison.only_second if confused[i]]


def confuses(emotion: TaskPairs) -> list[bool]:
    """Per utterance: happy taken for angry, or angry for happy."""
    return [{ref, hyp} == CONFUSED for ref, hyp in zip(emotion.reference, emotion.hypothesis)]


def pooled_confusion(one: Scored) -> CategoryFigures:
    """The confusion of the emotions, added over the seeds; it has no other figure. Where an answer is missing in any
    seed (grammar: free), all get the column for that."""
    figures = [result.pooled.tasks["emotion"] for result in one.runs.values()]
    width = max(len(seed.answers) for seed in figures)
    padded = [np.pad(seed.confusion, ((0, 0), (0, width - len(seed.answers)))) for seed in figures]
    no_answer = tuple(utt_id for seed in figures for utt_id in seed.no_answer)
    return CategoryFigures(figures[0].task, no_answer=no_answer, confusion=np.sum(padded, axis=0).tolist())


def errors(one: Scored) -> dict[str, int]:
    """Utterances that are wrong, over all seeds: happy taken for angry or angry for happy, and all."""
    emotions = [result.pairs.labelled("emotion").tasks["emotion"] for result in one.runs.values()]
    return {
        "happy_angry": sum(sum(confuses(emotion)) for emotion in emotions),
        "all": sum(emotion.correct.count(False) for emotion in emotions),
    }


def fall(before: int, after: int) -> str:
    return f"{100 * (before - after) / before:.1f}" if before else UNDEFINED
