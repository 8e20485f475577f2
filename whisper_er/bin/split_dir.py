"""Split a data directory into N, for N jobs.

python -m whisper_er.bin.split_dir --data_dir dump/test --n 4 --out_dir exp/decode/parts
"""

import argparse
from pathlib import Path

from whisper_er.bin import run
from whisper_er.parts import split_dir


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--n", type=int, required=True, help="number of parts")
    parser.add_argument("--out_dir", type=Path, required=True, help="gets the directories 1 .. N")
    args = parser.parse_args()
    split_dir(args.data_dir, args.n, args.out_dir)


if __name__ == "__main__":
    run(main)
