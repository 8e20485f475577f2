"""Gather the scores of an experiment's folds: print the table, write RESULTS.md, report.html, result.json and figures.

    whisper-er results --exp_dir exp/ser --folds "1 2 3 4 5" --test_sets "test"
    whisper-er results --exp_dir exp/ser --folds "1 2 3 4 5" --test_sets "test" --seeds "1 2 3"

With --seeds the folds are those of exp/ser/seed<k>, and exp/ser gets the mean and deviation over the seeds.
"""

import argparse
import shlex
import sys
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.bin import make_parser, run
from whisper_er.report import plots
from whisper_er.report.audio import DEFAULT_MB, megabytes
from whisper_er.report.experiment import REPORT, write_report
from whisper_er.report.markdown import render, render_seeds, seed_caveats, seed_table, summary_table
from whisper_er.report.rows import caveats
from whisper_er.score.results import RESULT, SetResult, collect, over_seeds
from whisper_er.score.scoring import json_text
from whisper_er.train.experiment import AVERAGE


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment; the results are written here")
    parser.add_argument("--folds", default="", help='folds to gather, e.g. "1 2 3"; empty: the experiment has none')
    parser.add_argument("--seeds", default="", help='seeds to gather, e.g. "1 2 3"; empty: the experiment has one')
    parser.add_argument(
        "--test_sets", required=True, help='test sets, e.g. "test"; others that every fold and seed has follow'
    )
    parser.add_argument(
        "--inference_tag", default="", help="decode_<inference_tag>; empty: what all folds and seeds have"
    )
    parser.add_argument("--run_command", default="", help="what called this, to be written down")
    parser.add_argument(
        "--report_audio_mb",
        type=megabytes,
        default=DEFAULT_MB,
        metavar="MB",
        help=f"audio to put into {REPORT}, errors first; beyond it there are links (%(default)s)",
    )
    args = parser.parse_args()

    if not args.test_sets.split():
        raise UserError('--test_sets: no test set is named; name at least one, e.g. "test"')
    experiments = [args.exp_dir / f"seed{seed}" for seed in args.seeds.split()] or [args.exp_dir]
    directories = [one / fold for one in experiments for fold in [f"fold{k}" for k in args.folds.split()] or [""]]
    args.test_sets = [*args.test_sets.split(), *scored_before(directories, args)]
    given = shlex.join(["python", "-m", "whisper_er.bin.results", *sys.argv[1:]])
    commands = [args.run_command] if args.run_command else [given]
    seeds = {seed: gather(args, args.exp_dir / f"seed{seed}", commands) for seed in args.seeds.split()}
    if not seeds:
        for result in gather(args, args.exp_dir, commands):
            print("\n".join([f"{result.name} of {args.exp_dir}", *caveats(result), summary_table(result), ""]))
    else:
        sets = over_seeds(seeds)
        for name, results in sets.items():
            print("\n".join([f"{name} of {args.exp_dir}, seeds", *seed_caveats(results), seed_table(results), ""]))
        write_text(args.exp_dir / "RESULTS.md", render_seeds(args.exp_dir, commands, sets))
    print(f"tables, confusion matrices, protocol: {args.exp_dir / 'RESULTS.md'}")


def scored_before(directories: list[Path], args: argparse.Namespace) -> list[str]:
    """Other test sets that each directory has scores of, by the same way of decoding and not older than its weights,
    as the model card takes them."""

    def scored(directory: Path) -> set[tuple[str, str]]:
        weights = directory / AVERAGE
        since = weights.stat().st_mtime if weights.is_file() else 0
        paths = directory.glob(f"decode_{args.inference_tag or '*'}/*/{RESULT}")
        return {path.parts[-4:-2] for path in paths if path.stat().st_mtime >= since}

    found = {name for _, name in set.intersection(*map(scored, directories))}
    return sorted(found - set(args.test_sets.split()))


def gather(args: argparse.Namespace, exp_dir: Path, commands: list[str]) -> list[SetResult]:
    """Read the folds of one experiment and write its files."""
    results = [
        result for name in args.test_sets for result in collect(exp_dir, args.folds.split(), name, args.inference_tag)
    ]
    write_text(exp_dir / "result.json", json_text({result.name: result.to_json() for result in results}))
    for result in results:
        for task, figures in result.pooled.tasks.items():
            if figures.task.kind == "category" and len(figures.labels) <= plots.MOST_CLASSES:
                name = f"confusion_{task}_{result.name.replace('/', '_')}"
                plots.save_confusion({exp_dir.name: figures}, exp_dir / "figures" / name)
    write_text(exp_dir / "RESULTS.md", render(exp_dir, commands, results))
    sounds = write_report(exp_dir, commands, results, args.report_audio_mb)
    print("\n".join([f"{exp_dir / REPORT}: {sounds.summary}", *sounds.problems]))
    return results


if __name__ == "__main__":
    run(main)
