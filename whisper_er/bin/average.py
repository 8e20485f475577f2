"""Stage 4: the mean of the n best checkpoints.

    whisper-er average --exp_dir exp/mini/fold1

Writes <metric>.ave_<n>best.safetensors, n being the number that there are, and the link ave.safetensors to it.
"""

import argparse
import os
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.train.experiment import BEST, UNTRAINED, read_best


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="what stage 3 wrote")
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        average_best(args)


def average_best(args: argparse.Namespace) -> None:
    # torch, since numpy has no bfloat16: the mean is summed in float64 and returned in the dtype of the weights.
    from whisper_er.train.weights import average, clear_half_written, save_weights

    record = read_best(args.exp_dir)
    if not record["finished"]:
        raise UserError(f"{args.exp_dir}: training has not ended; run stage 3 again, it goes on where it was stopped")
    clear_half_written(args.exp_dir)
    best = record["best"]
    few = f" (n_best is {record['n_best']}, training validated no more often)" if len(best) < record["n_best"] else ""
    print(f"{args.exp_dir}: averaging {len(best)} checkpoints by {record['metric']}{few}")
    for entry in best if record["metric"] != UNTRAINED else ():
        ua = "" if entry.get("ua") is None else f", UA {entry['ua']:.4f}"
        print(f"  step {entry['step']}: accuracy {entry['accuracy']:.4f}{ua}, loss {entry['loss']:.4f}")
    averaged = args.exp_dir / f"{record['metric']}.ave_{len(best)}best.safetensors"
    checkpoints = (args.exp_dir / BEST).parent
    save_weights(average([checkpoints / f"step{entry['step']:06d}.safetensors" for entry in best]), averaged)
    link = args.exp_dir / "ave.safetensors"
    link.with_name("ave.tmp").unlink(missing_ok=True)
    link.with_name("ave.tmp").symlink_to(averaged.name)
    os.replace(link.with_name("ave.tmp"), link)
    print(f"-> {averaged}")


if __name__ == "__main__":
    run(main)
