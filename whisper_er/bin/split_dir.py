"""Split a data directory into N, for N jobs.

whisper-er split_dir --data_dir dump/test --n 4 --out_dir exp/decode/parts
"""

from pathlib import Path

from whisper_er.bin import make_parser, run
from whisper_er.data.kaldi import split_dir


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--n", type=int, required=True, help="number of parts")
    parser.add_argument("--out_dir", type=Path, required=True, help="gets the directories 1 .. N")
    args = parser.parse_args()
    split_dir(args.data_dir, args.n, args.out_dir)


if __name__ == "__main__":
    run(main)
