"""Mixes a share of the pretrained weights, or of another experiment's, into a trained model (WiSE-FT).

    whisper-er interpolate --exp_dir exp/tag/fold1 --towards pretrained:0,0.1,0.3 --curve true
    whisper-er interpolate --exp_dir exp/tag/fold1 --towards pretrained:0.3

The first measures every share on the validation set and writes ave.towards_pretrained.md. The second writes the weights
of a share, ave.towards_pretrained_0.3.safetensors, which `run.sh --inference_model` takes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_er.base.files import write_text
from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.task import Task
from whisper_er.train.experiment import read_data

if TYPE_CHECKING:
    from whisper_er.retain.interpolation import Interpolation
    from whisper_er.train.validation import Validation


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="what stage 4 averaged")
    parser.add_argument(
        "--towards", required=True, help="pretrained:<shares>, or another experiment's directory:<shares>"
    )
    parser.add_argument(
        "--curve", choices=["true", "false"], default="false", help="measure the shares, write no weights"
    )
    parser.add_argument("--valid_set", type=Path, help="of the curve (default: that of the training)")
    parser.add_argument("--ngpu", type=int, choices=[0, 1], default=0, help="of the curve")
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        go_towards(args)


def go_towards(args: argparse.Namespace) -> None:
    """Write the weights of each share, or the table of what they are worth."""
    from whisper_er.retain.interpolation import Interpolation, parse_towards

    towards, shares = parse_towards(args.towards)
    interpolation = Interpolation(args.exp_dir, towards)
    if args.curve == "true":
        draw_curve(args, interpolation, shares)
        return
    for share in shares:
        print(f"-> {interpolation.write(share)}")


def draw_curve(args: argparse.Namespace, interpolation: "Interpolation", shares: Sequence[float]) -> None:
    from whisper_er.process.device import choose_device
    from whisper_er.report.markdown import table

    valid_set = args.valid_set or Path(read_data(args.exp_dir)["valid_set"]["path"])
    rows, tasks = [], interpolation.model.tokenizer.tasks
    for share, result in zip(shares, interpolation.curve(shares, valid_set, choose_device(args.ngpu))):
        rows.append({"share": f"{share:g}"} | validation_columns(result, tasks))
        print(" ".join(f"{title} {cell}" for title, cell in rows[-1].items()), flush=True)
    path = args.exp_dir / f"{interpolation.name}.md"
    about = f"The mean of the best checkpoints, towards {interpolation.towards}, on {valid_set}; in percent, as in"
    write_text(path, f"{about} validation.\n\n{table([list(rows[0]), *(list(row.values()) for row in rows)])}\n")
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


if __name__ == "__main__":
    run(main)
