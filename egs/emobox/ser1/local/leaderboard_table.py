"""exp/leaderboard/LEADERBOARD.md and leaderboard.csv: corpora and systems in one table. Called by leaderboard.sh.

What has not been scored is left open, so that the table may be written while folds are missing.
"""

import argparse
import csv
import io
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leaderboard import Entry, add_corpora, read_entries, without_audio
from published_figures import Published, read_published
from systems import Call

from whisper_er.base.files import write_text
from whisper_er.bin import run
from whisper_er.report.markdown import bullets, table
from whisper_er.report.rows import UNDEFINED, number
from whisper_er.score.results import RESULT, Result, read_result
from whisper_er.train.experiment import fold_state, read_best

FIGURES = {"ua": "ua", "wa": "wa", "f1": "macro_f1"}  # column -> figure of the task emotion
TESTED = re.compile(r"; tested on \d+ utterances of (\d+) speakers, (\d+) of them in training")  # of the protocol
CSV_COLUMNS = (
    "kind", "corpus", "system", "ua", "ua_sd", "wa", "wa_sd", "f1", "f1_sd", "folds", "all_folds", "utterances",
    "all_utterances", "test_speakers", "speakers_in_training", "validation", "source",
)  # fmt: skip
ABOUT = """\
In percent, of the task emotion. UA, WA and F1 (macro): as EmoBox reports them, the mean over the folds of the figure of
each, ± sample standard deviation; of several seeds first their mean. Folds: scored, of all that EmoBox has. Utterances:
tested, of those that EmoBox lists to test these folds; where some are missing, so may some of training. Speakers:
how many of the test speakers were in training, in the fold with the most; above 0 the figure is no measure of new
voices. Validation: accuracy of the best checkpoint, mean over folds and seeds; settings may be chosen by it, never by
the test. A row with a published source was not run here. A dash: not scored, or not published. Intervals, and folds in
which every answer is the same, are in systems/SYSTEMS.md of each corpus' experiments."""
Row = dict[str, str]


@dataclass(frozen=True)
class Scored:
    """A system on a corpus. results: fold -> result of each seed, of the folds that are scored."""

    entry: Entry
    call: Call
    results: dict[str, list[Result]]

    @property
    def missing(self) -> list[str]:
        return [fold for fold in self.entry.args.folds.split() if fold not in self.results]

    @property
    def tested(self) -> int:
        return sum(runs[0].score.num_utterances for runs in self.results.values())  # the seeds have the same sets

    @property
    def listed(self) -> int:
        """Utterances that EmoBox lists to test the scored folds; more than tested where audio is missing."""
        return sum(self.entry.listed(fold) for fold in self.results)

    def of_folds(self, column: str) -> list[float | None]:
        """A figure, as a share of 1, of each fold; the mean of its seeds."""
        found = (
            [one.score.values.get("emotion", {}).get(FIGURES[column]) for one in runs] for runs in self.results.values()
        )
        return [None if None in seeds else statistics.mean(seeds) for seeds in found]

    def mean(self, column: str) -> float | None:
        return mean(self.of_folds(column))

    def row(self) -> Row:
        of_folds = {column: self.of_folds(column) for column in FIGURES}
        figures = {column: percent(mean(values)) for column, values in of_folds.items()}
        sd = {f"{column}_sd": percent(deviation(values)) for column, values in of_folds.items()}
        matches = [TESTED.search(runs[0].about["protocol"]) for runs in self.results.values()]
        shared = [(int(match[2]), int(match[1])) for match in matches if match]
        most = max(shared, default=("", ""))
        return figures | sd | {
            "kind": "run", "corpus": self.entry.corpus, "system": self.call.title, "folds": str(len(self.results)),
            "all_folds": str(len(self.entry.all_folds)), "speakers_in_training": str(most[0]),
            "test_speakers": str(most[1]), "validation": percent(mean(self.validation())),
            "utterances": str(self.tested or ""), "all_utterances": str(self.listed or ""),
        }  # fmt: skip

    def validation(self) -> list[float | None]:
        """Accuracy of the best checkpoint of each fold and seed; none where the models are another system's."""
        if self.call.system.of:
            return []
        dirs = [path for fold in self.results for path in fold_dirs(self.entry, self.call, fold)]
        return [best[0]["accuracy"] if (best := read_best(path)["best"]) else None for path in dirs]


def mean(values: Sequence[float | None]) -> float | None:
    return None if not values or None in values else statistics.mean(values)


def deviation(values: Sequence[float | None]) -> float | None:
    return None if len(values) < 2 or None in values else statistics.stdev(values)


def percent(share: float | None) -> str:
    return "" if share is None else number(share)


def read_scored(entry: Entry, call: Call) -> Scored:
    results = {}
    for fold in entry.args.folds.split():
        dirs = fold_dirs(entry, call, fold)
        if all(fold_state(path, call.hypotheses) == "scored" for path in dirs):
            results[fold] = [read_result(path / call.hypotheses / RESULT) for path in dirs]
    return Scored(entry, call, results)


def fold_dirs(entry: Entry, call: Call, fold: str) -> list[Path]:
    """One per seed."""
    return [exp_dir / f"fold{fold}" for exp_dir in call.exp_dirs(entry.args).values()]


def published_row(line: Published) -> Row:
    return {"kind": "published"} | vars(line)


def averages(scored: Sequence[Scored]) -> tuple[list[str], list[Row]]:
    """Corpora of which every system has scored all folds asked for, whole, and a row per system: the mean over them."""
    by_system: dict[str, dict[str, Scored]] = {}
    for one in scored:
        if not one.missing and one.tested >= one.listed and None not in [one.mean(column) for column in FIGURES]:
            by_system.setdefault(one.call.title, {})[one.entry.corpus] = one
    titles = list(dict.fromkeys(one.call.title for one in scored))
    corpora = list(dict.fromkeys(one.entry.corpus for one in scored))
    common = [name for name in corpora if all(name in by_system.get(title, {}) for title in titles)]
    rows = []
    for title in titles if common else []:
        figures = {
            column: percent(mean([by_system[title][name].mean(column) for name in common])) for column in FIGURES
        }
        entries = [by_system[title][name].entry for name in common]
        folds = str(sum(len(entry.args.folds.split()) for entry in entries))
        all_folds = str(sum(len(entry.all_folds) for entry in entries))
        row = {"kind": "average", "corpus": " ".join(common), "system": title, "folds": folds, "all_folds": all_folds}
        rows.append(row | figures)
    return common, rows


def markdown_rows(rows: Sequence[Row]) -> list[list[str]]:
    head = ["corpus", "system", "UA", "WA", "F1", "folds", "utterances", "speakers", "validation", "source"]
    cells = [head]
    for row in rows:
        figures = [" ± ".join(filter(None, (row[column], row.get(f"{column}_sd")))) for column in FIGURES]
        of_all = [
            f"{row[part]} of {row[whole]}" if row.get(part) else ""
            for part, whole in (
                ("folds", "all_folds"), ("utterances", "all_utterances"), ("speakers_in_training", "test_speakers")
            )
        ]  # fmt: skip
        validation = row.get("validation", "")
        source = f"published: {row['source']}" if row["kind"] == "published" else "here"
        line = [row["corpus"], row["system"], *figures, *of_all, validation, source]
        cells.append([cell or UNDEFINED for cell in line])
    return cells


def csv_text(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def average_section(common: list[str], rows: list[Row], number_of_corpora: int, folds: str) -> list[str]:
    """folds: those asked for; empty: all."""
    which_folds = f"those of the folds {folds} that EmoBox has of it" if folds else "all folds"
    if not common:
        return [f"No corpus has been scored by every system of the table with {which_folds}: there is no average yet."]
    which = f"Mean over {len(common)} of {number_of_corpora} corpora, those that every system of the table has scored "
    head = [["system", "UA", "WA", "F1"]]
    cells = [[row["system"], *(row[column] for column in FIGURES)] for row in rows]
    return [f"{which}with {which_folds}: {', '.join(common)}. Each corpus counts once.", table(head + cells)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_corpora(parser)
    parser.add_argument("--published", default="", help="CSV of published figures; empty: none")
    parser.add_argument("--command", required=True, help="what made this, to be written down")
    args = parser.parse_args()
    published = read_published(Path(args.published)) if args.published else []
    entries = read_entries(args)
    scored, rows = [], []
    for entry in entries:
        of_corpus = [read_scored(entry, call) for call in entry.calls]
        scored += of_corpus
        rows += [one.row() for one in of_corpus]
        rows += [published_row(line) for line in published if line.corpus == entry.corpus]
    common, average_rows = averages(scored)
    missing = [f"{one.entry.corpus}, {one.call.title}: fold {' '.join(one.missing)}" for one in scored if one.missing]
    partial = list(dict.fromkeys(one.entry.corpus for one in scored if one.tested < one.listed))
    out_dir = Path(args.expdir, "leaderboard")
    out_dir.mkdir(parents=True, exist_ok=True)
    parts = [
        f"# Leaderboard of EmoBox{args.seeds and f', seeds {args.seeds}'}",
        "Generated, not to be edited, by",
        f"    {args.command}",
        table(markdown_rows(rows)),
        ABOUT,
        "## Average over corpora",
        *average_section(common, average_rows, len(entries), args.folds),
        *([f"Not in the average, with fewer utterances tested than listed: {', '.join(partial)}."] if partial else []),
        *(["## Not yet scored", bullets(missing)] if missing else []),
        *([f"Left out, without audio: {', '.join(silent)}."] if (silent := without_audio(args)) else []),
    ]
    write_text(out_dir / "LEADERBOARD.md", "\n\n".join(parts) + "\n")
    write_text(out_dir / "leaderboard.csv", csv_text([*rows, *average_rows]))
    beside = sum(row["kind"] == "published" for row in rows)
    print(
        f"{len(scored) - len(missing)} of {len(scored)} systems on {len(entries)} corpora are scored, beside {beside} "
        f"of {len(published)} published rows; table: {out_dir}/LEADERBOARD.md"
    )


if __name__ == "__main__":
    run(main)
