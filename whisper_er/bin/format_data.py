"""Bring a data directory to 16 kHz mono without segments; audio that is so already stays where it is.

whisper-er format_data --data_dir data/all --out_dir dump/all --nj 2
"""

from pathlib import Path

from whisper_er.audio.writer import FORMATS
from whisper_er.bin import make_parser, run
from whisper_er.corpora.format_audio import format_data


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="as local/data.sh wrote it")
    parser.add_argument("--out_dir", type=Path, required=True, help="appears, or is replaced, whole")
    parser.add_argument("--allow_pipes", choices=("true", "false"), default="false", help="run wav.scp's `command |`")
    parser.add_argument("--nj", type=int, default=1, help="processes")
    parser.add_argument(
        "--audio_format", choices=FORMATS, default="wav", help="what is written; into an ark: everything (%(default)s)"
    )
    parser.add_argument(
        "--silent_audio", choices=("error", "keep"), default="error", help="utterances without any sound (%(default)s)"
    )
    args = parser.parse_args()
    allow_pipes = args.allow_pipes == "true"
    format_data(args.data_dir, args.out_dir, allow_pipes, args.nj, args.audio_format, args.silent_audio)


if __name__ == "__main__":
    run(main)
