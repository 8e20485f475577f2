"""Compare two experiments on one task: paired bootstrap and, but for a scale, exact McNemar test and the answers that
changed hands.

    whisper-er compare --first exp/conventional --second exp/a_g_s --folds "1 2 3 4 5" \\
        --out_dir exp/a_g_s/against_conventional

Of an experiment with seeds, name the seed's directory: exp/a_g_s/seed1.
"""

import argparse
import shlex
import sys
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.bin import make_parser, run
from whisper_er.report.audio import DEFAULT_MB, megabytes
from whisper_er.report.comparison import COMPARISON, write_comparison
from whisper_er.report.markdown import changed_lines, changed_table, comparison_table, mcnemar_line, most_certain
from whisper_er.report.rows import caveats
from whisper_er.score.comparison import compare
from whisper_er.score.results import SetResult, collect, common_task

SHOWN = 20  # utterances in COMPARISON.md; changed.jsonl has all


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--first", type=Path, required=True, help="experiment, scored by stage 6")
    parser.add_argument("--second", type=Path, required=True, help="the other one; differences are second minus first")
    parser.add_argument("--folds", default="", help='folds to pool, e.g. "1 2 3"; empty: the experiments have none')
    parser.add_argument("--task", default="emotion", help="a category, a scale, or the text (%(default)s)")
    parser.add_argument("--test_set", default="test", help="%(default)s")
    parser.add_argument("--first_tag", default="", help="decode_<tag> of the first; needed where it has several")
    parser.add_argument("--second_tag", default="", help="decode_<tag> of the second")
    parser.add_argument("--out_dir", type=Path, required=True, help="gets COMPARISON.md, .html and changed.jsonl")
    parser.add_argument(
        "--report_audio_mb",
        type=megabytes,
        default=DEFAULT_MB,
        metavar="MB",
        help=f"audio to put into {COMPARISON}; beyond it there are links (%(default)s)",
    )
    args = parser.parse_args()

    first = only_result(args.first, args.first_tag, args)
    second = only_result(args.second, args.second_tag, args)
    comparison = compare(common_task(args.task, [first, second]), first.pairs, second.pairs)
    names = (args.first.name, args.second.name)
    if names[0] == names[1]:
        names = (str(args.first), str(args.second))
    parts = [f"# {names[1]} against {names[0]}"]
    parts += [f"{name}: {line}" for name, result in zip(names, (first, second)) for line in caveats(result)]
    parts.append(comparison_table(comparison, names))
    if comparison.mcnemar:
        parts.append(mcnemar_line(comparison.mcnemar, len(comparison.first.utt_ids), names))
    print("\n\n".join(parts[1:]))
    args.out_dir.mkdir(parents=True, exist_ok=True)
    if comparison.mcnemar:
        for name, changed in zip(names, (comparison.only_first, comparison.only_second)):
            shown = most_certain(comparison, changed)[:SHOWN]
            parts += [
                f"## Only {name} is right: {len(changed)}, shown: {len(shown)}",
                changed_table(comparison, shown, names),
            ]
        write_text(args.out_dir / "changed.jsonl", changed_lines(comparison))
    write_text(args.out_dir / "COMPARISON.md", "\n\n".join(parts) + "\n")
    command = shlex.join(["python", "-m", "whisper_er.bin.compare", *sys.argv[1:]])
    sounds = write_comparison(args.out_dir, command, comparison, names, (first, second), args.report_audio_mb)
    print("\n".join([f"{args.out_dir / COMPARISON}: {sounds.summary}", *sounds.problems]))
    if comparison.mcnemar:
        print(f"utterances that only one has right: {args.out_dir}/COMPARISON.md, {COMPARISON}, changed.jsonl")


def only_result(exp_dir: Path, tag: str, args: argparse.Namespace) -> SetResult:
    results = collect(exp_dir, args.folds.split(), args.test_set, tag)
    if len(results) > 1:
        raise UserError(
            f"{exp_dir}: decoded in several ways: {' '.join(result.name for result in results)}; choose with "
            "--first_tag or --second_tag"
        )
    return results[0]


if __name__ == "__main__":
    run(main)
