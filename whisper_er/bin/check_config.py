"""Read a configuration as training or decoding will, before hours have been spent on the way there.

    python -m whisper_er.bin.check_config --kind train --config conf/train.yaml max_steps=100 optim.lr=1e-4
"""

import argparse
from pathlib import Path

from whisper_er import config as configuration
from whisper_er.bin import run
from whisper_er.config import DecodeConfig, TrainConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["train", "decode"], required=True)
    parser.add_argument("--config", type=Path, required=True, help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    args = parser.parse_args()
    configuration.load(TrainConfig if args.kind == "train" else DecodeConfig, args.config, args.overrides)


if __name__ == "__main__":
    run(main)
