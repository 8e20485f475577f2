"""exp/paper/REPORT.md: the paper's tables and figure with our figures beside them. Called by paper.sh.

What has not been scored is left open, so that the report may be written while cells are missing.
"""

import argparse
from pathlib import Path

from cells import add_arguments, cells_of, read_config
from confusions import figure_2, table_3
from scored import Results, read_scored
from tables import (
    ABOUT_TESTS,
    TABLE_2,
    TABLE_4,
    TABLE_5,
    by_style,
    differences,
    experiments,
    main_table,
    other_encoders,
    table_6,
)

from whisper_er.base.files import write_text
from whisper_er.bin import run
from whisper_er.report.rows import level_percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--command", required=True, help="what made this, to be written down")
    args = parser.parse_args()
    config = read_config(args.paper_config)
    cells = cells_of(config, args.systems, args.models)
    results = Results(config, {(cell.system_name, cell.model_name): read_scored(cell, args) for cell in cells})
    out_dir = Path(args.expdir, "paper")
    missing = [one.cell.tag for one in results.cells.values() if not one.runs]
    several = len(args.seeds.split()) > 1
    how = "mean ± sd over the seeds" if several else f"{level_percent()} bootstrap interval by speaker"
    sections = {
        "Table 2: emotion": [main_table(results, TABLE_2, ("WA", "UA"), folds=True)],
        "Table 4: the tasks": [main_table(results, TABLE_4, ("WA", "UA", "GR", "WER", "WER raw"), folds=False)],
        "Table 5: what the pretrained decoder is worth": [main_table(results, TABLE_5, ("WA", "UA"), folds=False)],
        "Table 6: trainable parameters": [table_6(results)],
        "Figure 2: confusions": figure_2(results, out_dir / "figures"),
        "Table 3: happy and angry, wrong in the conventional method and right in SerialMTL": table_3(results),
        "Differences": [ABOUT_TESTS, *differences(results)],
        "Improvised and scripted": [by_style(results)],
        "Beyond the paper: the conventional method on other encoders": [other_encoders(results)],
        "Experiments": [experiments(results)],
    }
    head = [
        "# IEMOCAP: ours beside the paper's",
        "Generated, not to be edited, by",
        f"    {args.command}",
        f"Figures in percent, over all folds' utterances together ({how}); a dash: not scored, or not in the "
        "paper. Folds, calibration, environment and commands of an experiment: its RESULTS.md.",
        *([f"Preset {args.preset}: conf/{args.preset} says what it assumes."] if args.preset else []),
        *([f"Not yet scored: {', '.join(missing)}."] if missing else []),
    ]
    parts = [part for title, body in sections.items() for part in (f"## {title}", *body)]
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(out_dir / "REPORT.md", "\n\n".join([*head, *parts]) + "\n")
    print(f"{len(cells) - len(missing)} of {len(cells)} cells are scored; report: {out_dir / 'REPORT.md'}")


if __name__ == "__main__":
    run(main)
