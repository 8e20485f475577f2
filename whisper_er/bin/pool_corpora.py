"""Sets of several corpora, prepared by their recipes -> one data directory; local/data.sh of across_corpora calls it.

whisper-er pool_corpora --corpora conf/corpora.yaml --sets "emodb:fold1/train ravdess:fold4/train" --out_dir data/train
"""

from pathlib import Path

from whisper_er.bin import make_parser, run
from whisper_er.corpora.pooled_corpora import pool_sets


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--corpora", type=Path, required=True, help="YAML: dump directory, language, labels of each")
    parser.add_argument(
        "--sets",
        required=True,
        help="corpus:set, a directory below its dump; corpus:set[name=value], where the table utt2<name> says so",
    )
    parser.add_argument("--out_dir", type=Path, required=True, help="data directory to write")
    args = parser.parse_args()
    pool_sets(args.corpora, args.sets.split(), args.out_dir)


if __name__ == "__main__":
    run(main)
