"""Check ready-made sets: none is empty, and none shares an utterance or a speaker with another.

whisper-er check_speakers --train_set dump/train --valid_set dump/valid --test_set dump/test
"""

from pathlib import Path

from whisper_er.bin import make_parser, run
from whisper_er.corpora.folds import check_speakers


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--train_set", type=Path, required=True)
    parser.add_argument("--valid_set", type=Path, required=True)
    parser.add_argument("--test_set", type=Path, required=True, nargs="+")
    parser.add_argument("--allow_shared_speakers", choices=("true", "false"), default="false")
    args = parser.parse_args()
    check_speakers(args.train_set, args.valid_set, args.test_set, args.allow_shared_speakers == "true")


if __name__ == "__main__":
    run(main)
