"""Read a configuration as training or decoding will, before hours have been spent on the way there.

whisper-er check_config --kind train --config conf/train.yaml max_steps=100 optim.lr=1e-4
"""

from pathlib import Path

from whisper_er.base import settings
from whisper_er.bin import make_parser, run
from whisper_er.config import DecodeConfig, TrainConfig


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--kind", choices=["train", "decode"], required=True)
    parser.add_argument("--config", type=Path, required=True, help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_args()
    settings.load(TrainConfig if args.kind == "train" else DecodeConfig, args.config, args.overrides)


if __name__ == "__main__":
    run(main)
