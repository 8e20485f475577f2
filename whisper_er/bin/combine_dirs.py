"""Combine data directories, or hypothesis directories with their posteriors.jsonl, into one.

whisper-er combine_dirs --out_dir exp/decode/test exp/decode/parts/1 exp/decode/parts/2
"""

from pathlib import Path

from whisper_er.bin import make_parser, run
from whisper_er.score.hypotheses import combine_dirs


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("part_dirs", type=Path, nargs="+", metavar="PART")
    parser.add_argument("--out_dir", type=Path, required=True, help="appears, or is replaced, whole")
    args = parser.parse_args()
    combine_dirs(args.part_dirs, args.out_dir)


if __name__ == "__main__":
    run(main)
