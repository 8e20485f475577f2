"""Stage 1: what has become of a set's audio since it was formatted; silent where all files are as they were.

    whisper-er check_audio --data_dir data/all --dump_dir dump/all

Each line on standard output is a reason to format the set anew.
"""

import sys
from pathlib import Path

from whisper_er.base.errors import first_few
from whisper_er.bin import make_parser, run
from whisper_er.corpora.changed_audio import changed_audio


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="what format_data read")
    parser.add_argument("--dump_dir", type=Path, required=True, help="what it wrote")
    args = parser.parse_args()
    if not (args.dump_dir / "wav.scp").is_file():
        print(f"{args.dump_dir / 'wav.scp'} is missing")
        return
    audio = changed_audio(args.data_dir, args.dump_dir)
    if audio.gone:
        print(
            f"{args.data_dir}: {len(audio.gone)} recordings do not exist any more ({first_few(audio.gone)}); "
            f"{args.dump_dir} has them as they were",
            file=sys.stderr,
        )
    if audio.changed:
        print(f"{args.data_dir}: {len(audio.changed)} audio files have changed: {first_few(audio.changed)}")
    if audio.lost:
        print(f"{args.dump_dir}: {len(audio.lost)} audio files are missing or cut: {first_few(audio.lost)}")


if __name__ == "__main__":
    run(main)
