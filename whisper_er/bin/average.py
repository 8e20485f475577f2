"""Stage 4: the mean of the n best checkpoints, which then go, but for the best.

    whisper-er average --exp_dir exp/mini/fold1

Writes <metric>.ave_<n>best.safetensors, n being the number that there are, and the link ave.safetensors to it. The mean
of one checkpoint is another name of it. With keep_checkpoints: true all checkpoints stay. Adapters (lora.r) are merged
into the pretrained model first, so that the mean is always a whole model, even of one.
"""

import argparse
import os
from pathlib import Path

from whisper_er.base import settings
from whisper_er.base.errors import UserError
from whisper_er.base.files import link
from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.config import ONLY_TRAINING, TrainConfig
from whisper_er.train.experiment import AVERAGE, UNTRAINED, keeps_checkpoints, read_best, write_keeping


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="what stage 3 wrote")
    parser.add_argument("--keep_checkpoints", choices=["true", "false"], help="instead of what stage 3 was told")
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        average_best(args)


def average_best(args: argparse.Namespace) -> None:
    from whisper_er.base.weights import clear_half_written
    from whisper_er.train.checkpoints import checkpoint, remove_unneeded

    record = read_best(args.exp_dir)
    if not record["finished"]:
        raise UserError(f"{args.exp_dir}: training has not ended; run stage 3 again, it goes on where it was stopped")
    keep = keeps_checkpoints(args.exp_dir)
    if args.keep_checkpoints:
        keep = args.keep_checkpoints == "true"
        write_keeping(args.exp_dir, keep)
    clear_half_written(args.exp_dir)
    best = record["best"]
    averaged = args.exp_dir / f"{record['metric']}.ave_{len(best)}best.safetensors"
    paths = [checkpoint(args.exp_dir, entry) for entry in best]
    if is_made(averaged, paths):
        print(f"{args.exp_dir}: averaged before")
    else:
        few = (
            f" (n_best is {record['n_best']}, training validated no more often)" if len(best) < record["n_best"] else ""
        )
        print(f"{args.exp_dir}: averaging {len(best)} checkpoints by {record['metric']}{few}")
        for entry in best if record["metric"] != UNTRAINED else ():
            ua = "" if entry.get("ua") is None else f", UA {entry['ua']:.4f}"
            print(f"  step {entry['step']}: accuracy {entry['accuracy']:.4f}{ua}, loss {entry['loss']:.4f}")
        write_mean(args.exp_dir, paths, averaged)
    point_to(averaged, args.exp_dir / AVERAGE)
    remove_unneeded(args.exp_dir, record, keep, averaged=True)
    print(f"-> {averaged}")


def is_made(averaged: Path, paths: list[Path]) -> bool:
    """Whether the mean is there: checkpoints are missing only where it was written, and none is newer than it."""
    if not averaged.is_file() or not all(map(Path.is_file, paths)):
        return averaged.is_file()
    return all(path.stat().st_mtime_ns <= averaged.stat().st_mtime_ns for path in paths)


def write_mean(exp_dir: Path, paths: list[Path], averaged: Path) -> None:
    # torch, since numpy has no bfloat16: the mean is summed in float64 and returned in the dtype of the weights.
    from whisper_er.adapt.merging import holds_adapters
    from whisper_er.base.weights import average, save_weights
    from whisper_er.train.checkpoints import no_such_checkpoint

    for path in paths:
        if not path.is_file():
            raise no_such_checkpoint(path)
    if holds_adapters(paths[0]):
        from whisper_er.recognize.pretrained import merged
        from whisper_er.text.tokenizer import load_tokenizer

        config = settings.load(TrainConfig, exp_dir / "config.yaml", leave_out=ONLY_TRAINING)
        save_weights(merged(exp_dir, config, load_tokenizer(exp_dir / "token_list"), paths), averaged)
    elif len(paths) == 1:
        link(paths[0], averaged)
    else:
        save_weights(average(paths), averaged)


def point_to(target: Path, name: Path) -> None:
    """Make `name` a symbolic link to a file beside it; one that is right is left alone."""
    if name.is_symlink() and os.readlink(name) == target.name:
        return
    temporary = name.with_name("ave.tmp")
    temporary.symlink_to(target.name)
    os.replace(temporary, name)


if __name__ == "__main__":
    run(main)
