"""Check data directories: required files, the same ids in all, ids that can be file names, not empty.

whisper-er validate_data_dir data/all --tasks "asr gender emotion"
"""

from pathlib import Path

from whisper_er.bin import make_parser, run
from whisper_er.data import kaldi
from whisper_er.data.labels import print_doubts


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("data_dirs", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--tasks", default="", help="also require what these tasks read, e.g. 'asr emotion'")
    args = parser.parse_args()
    for path in args.data_dirs:
        data = kaldi.read_dir(path)
        kaldi.validate(path, data, args.tasks.split())
        print_doubts(str(path), data["utt2spk"].values())
        print(f"{path}: {len(kaldi.utterances(data))} utterances, {len(set(data['utt2spk'].values()))} speakers: ok")


if __name__ == "__main__":
    run(main)
