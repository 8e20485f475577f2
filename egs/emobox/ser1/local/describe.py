"""What run.sh has to know of a corpus: its language, a digest of its lists, and the numbers of its folds, on one line.

python local/describe.py --emobox EmoBox --corpus ravdess
"""

import argparse
from pathlib import Path

from emobox import find_corpus, fold_dirs, language_of, lists_digest

from whisper_er.base.errors import UserError
from whisper_er.bin import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emobox", type=Path, required=True)
    parser.add_argument("--corpus", required=True)
    args = parser.parse_args()
    directory = find_corpus(args.emobox, args.corpus)
    folds = fold_dirs(directory)
    if not folds:
        raise UserError(f"{args.emobox}: {args.corpus} has no directory fold_1; clone EmoBox anew")
    if not (language := language_of(args.corpus)):
        raise UserError(f"--corpus {args.corpus}: local/corpora.yaml does not know its language; add a line")
    print(language, lists_digest(directory), *folds)


if __name__ == "__main__":
    run(main)
