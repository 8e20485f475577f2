"""Check data directories: required files, the same ids in all, ids that can be file names, not empty.

python -m whisper_er.bin.validate_data_dir data/all --tasks "asr gender emotion"
"""

import argparse
from pathlib import Path

from whisper_er import kaldi
from whisper_er.bin import run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("data_dirs", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--tasks", default="", help="also require what these tasks read, e.g. 'asr emotion'")
    args = parser.parse_args()
    for path in args.data_dirs:
        data = kaldi.read_dir(path)
        kaldi.validate(path, data, args.tasks.split())
        print(f"{path}: {len(kaldi.utterances(data))} utterances, {len(set(data['utt2spk'].values()))} speakers: ok")


if __name__ == "__main__":
    run(main)
