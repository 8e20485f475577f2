"""Combine data directories, or hypothesis directories with their posteriors.jsonl, into one.

python -m whisper_er.bin.combine_dirs --out_dir exp/decode/test exp/decode/parts/1 exp/decode/parts/2
"""

import argparse
from pathlib import Path

from whisper_er.bin import run
from whisper_er.parts import combine_dirs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("part_dirs", type=Path, nargs="+", metavar="PART")
    parser.add_argument("--out_dir", type=Path, required=True, help="appears, or is replaced, whole")
    args = parser.parse_args()
    combine_dirs(args.part_dirs, args.out_dir)


if __name__ == "__main__":
    run(main)
