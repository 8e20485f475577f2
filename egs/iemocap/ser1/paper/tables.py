"""The paper's tables of figures, and those beyond it, each a function from the results to Markdown."""

from pathlib import Path

from cells import Cell
from scored import Results, compare_first_seed

from whisper_er.base import settings
from whisper_er.config import TrainConfig
from whisper_er.models.size import backbone_sizes, rounded, sized_model, trained_parameters
from whisper_er.report.markdown import bullets, comparison_table, mcnemar_line, table
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
NUM_LABELS = {"gender": 2, "emotion": 4}
ABOUT_TESTS = (
    "Exact McNemar test and paired bootstrap; of several seeds the first. McNemar's test and the bootstrap "
    "by utterance take utterances for independent, which those of one speaker are not."
)


def main_table(results: Results, systems: tuple[str, ...], titles: tuple[str, ...], folds: bool) -> str:
    """A row per model and system: ours, over the folds if asked for, the paper's."""
    head = [
        "system",
        "model",
        *titles,
        *(f"{title} over folds" for title in titles if folds),
        *(f"paper {title}" for title in titles if title != "WER raw"),
    ]
    rows = [head]
    for model in results.whispers:
        for system in systems:
            if one := results.cells.get((system, model)):
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


def by_style(results: Results) -> str:
    rows = [
        ["system", "model", *(f"{style} {title}" for style in ("improvised", "scripted") for title in ("WA", "UA"))]
    ]
    for one in results.cells.values():
        if "emotion" in one.cell.system["tasks"]:
            rows.append(
                [
                    one.cell.system["title"],
                    one.cell.model_name,
                    *(one.show(title, style) for style in ("improvised", "scripted") for title in ("WA", "UA")),
                ]
            )
    return table(rows)


def table_6(results: Results) -> str:
    rows = [["", "model", "trainable parameters", "", "paper"]]
    for model in results.whispers:
        for system, title in TABLE_6.items():
            if one := results.cells.get((system, model)):
                count = parameters(one.cell)
                rows.append([title, model, f"{count:,}", rounded(count), one.paper("parameters")])
    return table(rows)


def differences(results: Results) -> list[str]:
    parts = []
    for model in results.whispers:
        for first, second in PAIRS:
            if systems := results.both(first, second, model):
                names = tuple(f"{one.cell.system['title']}" for one in systems)
                comparison = compare_first_seed(systems)
                parts += [
                    f"### {names[1]} against {names[0]}, {model}",
                    comparison_table(comparison, names),
                    mcnemar_line(comparison.mcnemar, len(comparison.first.utt_ids), names),
                ]
    return parts


def other_encoders(results: Results) -> str:
    rows = [["encoder", "WA", "UA", "WA over folds", "UA over folds"]]
    for (system, model), one in results.cells.items():
        if system == "conventional":
            rows.append(
                [
                    model,
                    *(one.show(title) for title in ("WA", "UA")),
                    *(one.over_folds(title) for title in ("WA", "UA")),
                ]
            )
    return table(rows)


def experiments(results: Results) -> str:
    """A line per experiment: where it is, and which data trained, selected and tested its first fold."""
    lines = []
    for one in results.cells.values():
        for result in one.runs.values():
            fold, first = next(iter(result.folds.items()))
            lines.append(
                f"{one.cell.system['title']}, {one.cell.model_name}: `{first.directory.parents[2]}`; fold "
                f"{fold}: {first.result.about['protocol']}"
            )
    return bullets(lines)


def parameters(cell: Cell) -> int:
    """Trained parameters of the cell's configuration; no weights are read."""
    config = settings.load(TrainConfig, Path(cell.system["ser_config"]))
    config.model.whisper_model = cell.model["options"][1]
    tasks = [
        Task(name, "category", tuple(f"{name}{i}" for i in range(NUM_LABELS[name])))
        if name in NUM_LABELS
        else Task(name, "text")
        for name in cell.system["tasks"].split()
    ]
    return trained_parameters(sized_model(config, backbone_sizes(config.model), tasks))
