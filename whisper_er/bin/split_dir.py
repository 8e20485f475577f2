"""Split a data directory into N, for N jobs.

whisper-er split_dir --data_dir dump/test --n 4 --out_dir exp/decode/parts --exp_dir exp/mini/fold1
"""

from pathlib import Path

from whisper_er.base import settings
from whisper_er.bin import make_parser, run
from whisper_er.config import ONLY_TRAINING, TrainConfig
from whisper_er.data.kaldi import split_dir


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--n", type=int, required=True, help="number of parts")
    parser.add_argument("--out_dir", type=Path, required=True, help="gets the directories 1 .. N")
    parser.add_argument("--exp_dir", type=Path, help="that is to decode them; dialogues stay whole if it reads context")
    args = parser.parse_args()
    config = TrainConfig()
    if args.exp_dir:
        config = settings.load(TrainConfig, args.exp_dir / "config.yaml", leave_out=ONLY_TRAINING)
    split_dir(args.data_dir, args.n, args.out_dir, keep_dialogues=config.context.turns > 0)


if __name__ == "__main__":
    run(main)
