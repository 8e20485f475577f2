"""Stage 4: the mean of the n best checkpoints, which then go, but for the best.

    whisper-er average --exp_dir exp/mini/fold1

Writes <metric>.ave_<n>best.safetensors, n being the number that there are, and the link ave.safetensors to it. The mean
of one checkpoint is another name of it. With keep_checkpoints: true all checkpoints stay.

    whisper-er average --exp_dir exp/tag/fold1 --towards pretrained:0,0.1,0.3 --curve true
    whisper-er average --exp_dir exp/tag/fold1 --towards pretrained:0.3

mix a share of the pretrained weights, or of another experiment's, into the mean (WiSE-FT). The first measures every
share on the validation set and writes ave.towards_pretrained.md. The second writes the weights of a share,
ave.towards_pretrained_0.3.safetensors, which `run.sh --inference_model` takes.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.base.errors import UserError
from whisper_er.base.files import link, write_text
from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.task import Task
from whisper_er.train.experiment import AVERAGE, UNTRAINED, keeps_checkpoints, read_best, read_data, write_keeping

if TYPE_CHECKING:
    from whisper_er.train.validation import Validation


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="what stage 3 wrote")
    parser.add_argument("--keep_checkpoints", choices=["true", "false"], help="instead of what stage 3 was told")
    parser.add_argument("--towards", default="", help="pretrained:<shares>, or another experiment's directory:<shares>")
    parser.add_argument(
        "--curve", choices=["true", "false"], default="false", help="measure the shares, write no weights"
    )
    parser.add_argument("--valid_set", type=Path, help="of the curve (default: that of the training)")
    parser.add_argument("--ngpu", type=int, choices=[0, 1], default=0, help="of the curve")
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        average_best(args)
        if args.towards:
            go_towards(args)


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
        write_mean(paths, averaged)
    point_to(averaged, args.exp_dir / AVERAGE)
    remove_unneeded(args.exp_dir, record, keep, averaged=True)
    print(f"-> {averaged}")


def go_towards(args: argparse.Namespace) -> None:
    """Write the weights of each share, or the table of what they are worth."""
    from whisper_er.base.weights import save_weights
    from whisper_er.process.device import choose_device
    from whisper_er.report.markdown import table
    from whisper_er.retain.interpolation import Interpolation, parse_towards

    towards, shares = parse_towards(args.towards)
    interpolation = Interpolation(args.exp_dir, towards)
    if args.curve == "false":
        for share in shares:
            path = args.exp_dir / f"{interpolation.name}_{share:g}.safetensors"
            save_weights(interpolation.at(share), path)
            print(f"-> {path}")
        return
    valid_set = args.valid_set or Path(read_data(args.exp_dir)["valid_set"]["path"])
    rows, tasks = [], interpolation.model.tokenizer.tasks
    for share, result in zip(shares, interpolation.curve(shares, valid_set, choose_device(args.ngpu))):
        rows.append({"share": f"{share:g}", "loss": f"{result.loss:.3f}"} | validation_columns(result, tasks))
        print(" ".join(f"{title} {cell}" for title, cell in rows[-1].items()), flush=True)
    path = args.exp_dir / f"{interpolation.name}.md"
    about = f"The mean of the best checkpoints, towards {towards}, on {valid_set}; in percent, as in validation."
    write_text(path, f"{about}\n\n{table([list(rows[0]), *(list(row.values()) for row in rows)])}\n")
    print(f"-> {path}")


def validation_columns(result: "Validation", tasks: Sequence[Task]) -> dict[str, str]:
    """Of each task: WER of a text, CCC of a scale, WA and UA of a category."""
    columns = {}
    for task in tasks:
        accuracy = result.accuracy[task.name]
        if task.kind == "category":
            columns |= {
                f"{task.name} WA": f"{100 * accuracy:.1f}",
                f"{task.name} UA": f"{100 * result.ua[task.name]:.1f}",
            }
        elif task.kind == "scale":
            columns[f"{task.name} CCC"] = f"{accuracy:.3f}"
        else:
            columns[f"{task.name} WER"] = f"{100 * (1 - accuracy):.1f}"
    return columns


def is_made(averaged: Path, paths: list[Path]) -> bool:
    """Whether the mean is there: checkpoints are missing only where it was written, and none is newer than it."""
    if not averaged.is_file() or not all(map(Path.is_file, paths)):
        return averaged.is_file()
    return all(path.stat().st_mtime_ns <= averaged.stat().st_mtime_ns for path in paths)


def write_mean(paths: list[Path], averaged: Path) -> None:
    # torch, since numpy has no bfloat16: the mean is summed in float64 and returned in the dtype of the weights.
    from whisper_er.base.weights import average, save_weights
    from whisper_er.train.checkpoints import no_such_checkpoint

    for path in paths:
        if not path.is_file():
            raise no_such_checkpoint(path)
    if len(paths) == 1:
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
