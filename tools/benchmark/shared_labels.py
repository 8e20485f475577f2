"""The utterances of a data directory whose emotion another one has as well, as a data directory.

tools/venv/bin/python tools/benchmark/shared_labels.py --data_dir dump/fold4/test --labels_of dump/all --out_dir NEW
"""

import argparse
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.bin import run
from whisper_er.data import kaldi

TABLE = "utt2emotion"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--labels_of", type=Path, required=True, help="data directory with the labels to keep")
    parser.add_argument("--out_dir", type=Path, required=True, help="data directory to write")
    args = parser.parse_args()
    data, labels = kaldi.read_dir(args.data_dir), set(kaldi.read_table(args.labels_of / TABLE).values())
    kept = [utt_id for utt_id, label in data[TABLE].items() if label in labels]
    if not kept:
        raise UserError(f"{args.data_dir / TABLE}: no label is one of {args.labels_of}: {' '.join(sorted(labels))}")
    kaldi.write_dir(args.out_dir, kaldi.subset(data, kept))
    left_out = sorted(set(data[TABLE].values()) - labels)
    print(f"{args.out_dir}: {len(kept)} of {len(data[TABLE])} utterances; left out: {' '.join(left_out) or 'none'}")


if __name__ == "__main__":
    run(main)
