"""Make the sets of a cross-validation from utt2fold: test is fold k, valid the next one, train the rest.

--valid_split random:0.1 validates on a random tenth of all other folds instead, which shares speakers with train.

whisper-er make_folds --data_dir dump/all --out_dir dump --folds "1 2 3 4 5"
"""

from pathlib import Path

from whisper_er.bin import make_parser, run
from whisper_er.corpora.folds import make_folds


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--out_dir", type=Path, required=True, help="gets fold<k>/train, fold<k>/valid, fold<k>/test")
    parser.add_argument("--folds", required=True, help="which k, e.g. '1 2 3'")
    parser.add_argument("--allow_shared_speakers", choices=("true", "false"), default="false")
    parser.add_argument("--valid_split", default="session", help="session (the next fold) or random:<share>")
    args = parser.parse_args()
    allow_shared = args.allow_shared_speakers == "true"
    make_folds(args.data_dir, args.out_dir, args.folds.split(), allow_shared, args.valid_split)


if __name__ == "__main__":
    run(main)
