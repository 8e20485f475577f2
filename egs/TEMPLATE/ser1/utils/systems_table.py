"""exp/systems/SYSTEMS.md: the systems of conf/systems.yaml in one table. Called by systems.sh in a recipe directory.

What has not been scored is left open, so that the table may be written while systems are missing.

Axes: U units that the bootstrap draws, X counts (score/bootstrap.py).
"""

import argparse
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from systems import COLUMNS, TEST_SET, Call, add_arguments, read_calls

from whisper_er.base.files import write_text
from whisper_er.bin import run
from whisper_er.report.markdown import bounds, bullets, p_value, signed, table
from whisper_er.report.rows import UNDEFINED, caveats, interval, level_percent, mean_and_sd
from whisper_er.score.bootstrap import bootstrap_interval, paired_bootstrap, sum_by
from whisper_er.score.comparison import align, exact_mcnemar
from whisper_er.score.figures import FIGURES
from whisper_er.score.pairing import read_column
from whisper_er.score.results import WHOLE, SetResult, collect, common_task
from whisper_er.task import Task
from whisper_er.train.experiment import fold_state, read_best

WITH_INTERVAL = ("UA", "WA")
NOTE = re.compile(r"^# (?:host .*, start|(end)) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", re.MULTILINE)  # of utils/job_log.py
ABOUT = """\
In percent. UA, WA, gender and WER: of the utterances of all folds together, of several seeds the mean; in brackets the
{level} bootstrap interval, drawn by {unit}. Over folds (of several seeds their mean) and over seeds: mean ± sample
standard deviation. Validation: accuracy of the best checkpoint, mean over folds and seeds; settings may be chosen by
it, never by the test. Against {baseline}: the difference in UA by a paired bootstrap of the same units, and the exact
McNemar test on the answers of the first seed, which takes utterances for independent. Minutes: all trainings, by their
logs. A dash: not scored, or not a task of the system."""
ABOUT_ALONE = """\
Against {singles}, trained for that task alone: what the other tasks cost it, by the same paired bootstrap."""


@dataclass(frozen=True)
class Scored:
    """A system and its results, one per seed; none while a fold is missing."""

    call: Call
    runs: list[SetResult]

    def has(self, title: str) -> bool:
        task, _ = COLUMNS[title]
        wanted = self.call.system.figures
        return bool(self.runs) and task in self.runs[0].pooled.tasks and (not wanted or title in wanted)

    def counts(self, task: Task, interval_by: str) -> np.ndarray:
        """(U, X): of each unit, in sorted order, added over the seeds, which have the same utterances."""
        return np.sum([unit_counts(result, task, interval_by) for result in self.runs], axis=0)

    def pooled(self, title: str, interval_by: str) -> str:
        if not self.has(title):
            return UNDEFINED
        task, name = COLUMNS[title]
        task = common_task(task, self.runs)
        figure, statistic = FIGURES[task.kind].catalogue()[name], FIGURES[task.kind].statistics()[name]
        counts_UX = self.counts(task, interval_by)
        value = signed(float(statistic(counts_UX.sum(axis=0))), figure)
        if title not in WITH_INTERVAL:
            return value
        return f"{value} [{interval(bootstrap_interval(counts_UX, statistic))}]"

    def over_folds(self, title: str) -> str:
        if not self.has(title):
            return UNDEFINED
        task, name = COLUMNS[title]
        folds = zip(*([fold.result.score.values[task][name] for fold in run.folds.values()] for run in self.runs))
        return mean_and_sd([None if None in seeds else statistics.mean(seeds) for seeds in folds])

    def over_seeds(self, title: str) -> str:
        if not self.has(title):
            return UNDEFINED
        task, name = COLUMNS[title]
        return mean_and_sd([result.pooled.values[task][name] for result in self.runs])

    @property
    def fold_dirs(self) -> list[Path]:
        return [fold.directory.parents[1] for result in self.runs for fold in result.folds.values()]

    def validation(self) -> str:
        if not self.runs or self.call.system.of:
            return UNDEFINED
        best = [read_best(fold_dir)["best"] for fold_dir in self.fold_dirs]
        accuracies = [one[0]["accuracy"] if one else None for one in best]
        return UNDEFINED if None in accuracies else f"{100 * statistics.mean(accuracies):.1f}"

    def minutes(self) -> str:
        if not self.runs or self.call.system.of:
            return UNDEFINED
        seconds = [training_seconds(fold_dir / "train.log") for fold_dir in self.fold_dirs]
        return UNDEFINED if None in seconds else f"{sum(seconds) / 60:.0f}"

    def caveats(self) -> list[str]:
        """What keeps its figures from being results, such as folds in which every answer is the same label."""
        lines = []
        for result in self.runs:
            folds = list(result.folds)
            exp_dir = result.folds[folds[0]].directory.parents[1 if folds == [WHOLE] else 2]
            lines += [f"{self.call.title}, `{exp_dir}`: {line}" for line in caveats(result)]
        return lines


def unit_counts(result: SetResult, task: Task, interval_by: str) -> np.ndarray:
    kind = FIGURES[task.kind]
    scored = kind.scored(task, result.pairs)
    units = units_of(result, interval_by)
    return sum_by([units[utt_id] for utt_id in scored.utt_ids], kind.counts(task, scored))


def units_of(result: SetResult, interval_by: str) -> dict[str, str]:
    """Utterance -> what the bootstrap draws with it: itself, or its value in utt2<interval_by> of the test sets."""
    units = {}
    for fold in result.folds.values():
        utt_ids = sorted(fold.pairs.utt_ids)
        values = utt_ids
        if interval_by != "utterance":
            path = Path(fold.result.about["ref_dir"], f"utt2{interval_by}")
            values = read_column(path, fold.directory, dict.fromkeys(utt_ids, ""))
        units |= dict(zip(utt_ids, values))
    return units


def against(baseline: Scored, other: Scored, interval_by: str) -> list[str]:
    """The difference in UA with its interval, and McNemar's p; the same utterances."""
    if other is baseline or not baseline.has("UA") or not other.has("UA"):
        return [UNDEFINED, UNDEFINED]
    pairs = (one.labelled("emotion") for one in align("emotion", baseline.runs[0].pairs, other.runs[0].pairs))
    first, second = (one.tasks["emotion"].correct for one in pairs)
    return [difference(baseline, other, "UA", interval_by), p_value(exact_mcnemar(first, second).p_value)]


def difference(baseline: Scored, other: Scored, title: str, interval_by: str) -> str:
    """Of the figure of a column, with its interval by a paired bootstrap; the same utterances."""
    if other is baseline or not baseline.has(title) or not other.has(title):
        return UNDEFINED
    name, key = COLUMNS[title]
    task = common_task(name, [*baseline.runs, *other.runs])
    figure, statistic = FIGURES[task.kind].catalogue()[key], FIGURES[task.kind].statistics()[key]
    # Of as many seeds on both sides, so that UA, linear in the answers to each class, is the mean of the seeds.
    first_UX, second_UX = (one.counts(task, interval_by) for one in (baseline, other))
    compared = paired_bootstrap(first_UX, second_UX, statistic)
    return f"{signed(compared.difference, figure, '+')} [{bounds(compared.interval, figure)}]"


def single_task(scored: Sequence[Scored]) -> dict[str, Scored]:
    """Column of a subtask -> the first system that was trained for it alone, where there is one."""
    singles = {}
    for title, (task, _) in COLUMNS.items():
        alone = [one for one in scored if one.runs and not one.call.system.of and one.call.trained.tasks == task]
        if alone and task != "emotion":
            singles[title] = alone[0]
    return singles


def training_seconds(log: Path) -> float | None:
    """Of all calls of a training; None if one of them has no end in the log."""
    notes = NOTE.findall(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else []
    kinds = [kind for kind, _ in notes]
    if not notes or kinds != ["", "end"] * (len(notes) // 2):
        return None
    times = [datetime.fromisoformat(time) for _, time in notes]
    return sum((end - start).total_seconds() for start, end in zip(times[::2], times[1::2]))


def read_scored(call: Call, args: argparse.Namespace) -> Scored:
    folds, exp_dirs = args.folds.split(), list(call.exp_dirs(args).values())
    fold_dirs = [path for exp_dir in exp_dirs for path in call.fold_dirs(exp_dir, args).values()]
    states = {fold_state(path, call.hypotheses) for path in fold_dirs}
    if states != {"scored"}:
        return Scored(call, [])
    return Scored(call, [collect(exp_dir, folds, TEST_SET, call.system.inference_tag)[0] for exp_dir in exp_dirs])


def rows_of(scored: Sequence[Scored], baseline: Scored | None, interval_by: str) -> list[list[str]]:
    repeated = {  # what a figure is averaged over besides the utterances
        "folds": any(len(result.folds) > 1 for one in scored for result in one.runs),
        "seeds": any(len(one.runs) > 1 for one in scored),
    }
    head = ["system"]
    for title in COLUMNS:
        head.append(f"{title} [{level_percent()}]" if title in WITH_INTERVAL else title)
        head += [f"{title} over {what}" for what, there in repeated.items() if there and title in WITH_INTERVAL]
    singles = single_task(scored)
    head += ["validation", *([f"UA against {baseline.call.title}", "McNemar p"] if baseline else [])]
    head += [*(f"{title} against {single.call.title}" for title, single in singles.items()), "minutes"]
    rows = [head]
    for one in scored:
        row = [one.call.title]
        for title in COLUMNS:
            row.append(one.pooled(title, interval_by))
            spread = {"folds": one.over_folds(title), "seeds": one.over_seeds(title)}
            row += [spread[what] for what, there in repeated.items() if there and title in WITH_INTERVAL]
        compared = against(baseline, one, interval_by) if baseline else []
        compared += [difference(single, one, title, interval_by) for title, single in singles.items()]
        rows.append([*row, one.validation(), *compared, one.minutes()])
    return rows


def experiments(scored: Sequence[Scored]) -> str:
    """A line per experiment: its first fold, and which data trained, selected and tested it."""
    lines = []
    for one in scored:
        for result in one.runs:
            first = next(iter(result.folds.values()))
            lines.append(f"{one.call.title}: `{first.directory.parents[1]}`: {first.result.about['protocol']}")
    return bullets(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--command", required=True, help="what made this, to be written down")
    args = parser.parse_args()
    config, calls = read_calls(args)
    scored = [read_scored(call, args) for call in calls]
    baseline = next((one for one in scored if one.call.name == config.baseline and one.runs), None)
    singles = [one.call.title for one in single_task(scored).values()]
    missing = [one.call.name for one in scored if not one.runs]
    warnings = [line for one in scored for line in one.caveats()]
    about = ABOUT.format(
        level=level_percent(), unit=config.interval_by, baseline=baseline.call.title if baseline else config.baseline
    )
    parts = [
        f"# Systems on {Path.cwd().parent.name}{args.folds and f', folds {args.folds}'}"
        f"{args.seeds and f', seeds {args.seeds}'}",
        "Generated, not to be edited, by",
        f"    {args.command}",
        table(rows_of(scored, baseline, config.interval_by)),
        about,
        *([ABOUT_ALONE.format(singles=" and ".join(singles))] if singles else []),
        *([f"Not yet scored: {', '.join(missing)}."] if missing else []),
        *([bullets(warnings)] if warnings else []),
        *(["## Experiments", experiments(scored)] if len(missing) < len(scored) else []),
    ]
    path = Path(args.expdir, "systems", "SYSTEMS.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n\n".join(parts) + "\n")
    print(f"{len(scored) - len(missing)} of {len(scored)} systems are scored; table: {path}")


if __name__ == "__main__":
    run(main)
