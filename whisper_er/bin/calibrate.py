"""Fit a temperature per category on the validation set, so that posteriors mean what they say.

    whisper-er calibrate --exp_dir exp/ser/foldJOB --folds "1 2"
    ./run.sh ... --stage 5 --stop_stage 6 --inference_args "calibrate=true"

Decodes the validation set of the training into the experiment's calibration/, and fits on no other set. Writes
calibration.json into the experiment, which decoding uses where calibrate=true asks for it.
"""

import argparse
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.bin import add_folds_argument, make_parser, of_each_fold, run
from whisper_er.bin.decode import decode_set
from whisper_er.process.memory import DECODING
from whisper_er.score import temperature
from whisper_er.score.hypotheses import POSTERIORS, PROTOCOL, read_protocol
from whisper_er.score.pairing import pair_directories
from whisper_er.text.conventions import Writing
from whisper_er.text.token_list import read_token_list
from whisper_er.train.experiment import AVERAGE, validation_set


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment; calibration.json is written here")
    parser.add_argument("--config", type=Path, default="conf/decode.yaml", help="how to decode (%(default)s)")
    parser.add_argument("--ngpu", type=int, choices=[0, 1], default=0)
    parser.add_argument("--hyp_dir", type=Path, help="the validation set decoded already, instead of decoding it")
    parser.add_argument("--ref_dir", type=Path, help="the validation set (default: where training read it)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of the configuration")
    add_folds_argument(parser)
    for args in of_each_fold(parser.parse_args()):
        calibrate(args)


def calibrate(args: argparse.Namespace) -> None:
    if args.hyp_dir and args.overrides:
        raise UserError(f"{' '.join(args.overrides)}: with --hyp_dir nothing is decoded; leave one of the two out")
    ref_dir = validation_set(args.exp_dir, args.ref_dir)
    hyp_dir = args.hyp_dir or decode_validation(args, ref_dir)
    protocol = read_protocol(hyp_dir)
    for key in ("calibrate", "teacher_forced", "prior_correction"):
        if value := protocol.get(key):
            raise UserError(f"{hyp_dir / PROTOCOL}: decoded with {key}={str(value).lower()}; decode it again without")
    if protocol.get("context_from") == "ref":
        raise UserError(f"{hyp_dir / PROTOCOL}: decoded with context_from=ref; decode it again without")
    tasks = [task for task in read_token_list(args.exp_dir / "token_list").tasks if task.kind == "category"]
    if not tasks:
        raise UserError(f"{args.exp_dir}: has no category, and nothing else is calibrated")
    pairs = pair_directories(ref_dir, hyp_dir, tasks, Writing("", str))
    fits = {}
    for task in tasks:
        values = pairs.labelled(task.name).tasks[task.name]
        if not values.posterior or not values.answered:
            raise UserError(f"{hyp_dir / POSTERIORS}: no posterior of a labelled utterance of {task.name} to fit on")
        fit = temperature.fit(task, values.select(values.answered))
        if fit is None:
            print(
                f"{args.exp_dir}: {task.name}: no temperature, and posteriors stay as they are: in {ref_dir} its "
                "answers are all right, or no better than chance"
            )
            continue
        fits[task.name] = fit
        print(
            f"{args.exp_dir}: {task.name}: temperature {fit.temperature:.3f} by {fit.num_utterances} utterances of "
            f"{ref_dir}; ECE {100 * fit.ece[0]:.1f} -> {100 * fit.ece[1]:.1f} %, NLL {fit.nll[0]:.3f} -> "
            f"{fit.nll[1]:.3f} nats"
        )
    if not fits:
        raise UserError(f"{args.exp_dir}: no temperature for any category; decode without calibrate")
    about = {"hyp_dir": str(hyp_dir), "ref_dir": str(ref_dir), "decoding": protocol}
    temperature.write_fits(args.exp_dir, fits, str(protocol.get("model")), about)


def decode_validation(args: argparse.Namespace, ref_dir: Path) -> Path:
    """Its speakers may be those of training: as in training, it is no test."""
    out_dir = args.exp_dir / "calibration"
    about = {"data_dir": ref_dir, "out_dir": out_dir, "model": AVERAGE, "allow_shared_speakers": "true"}
    decode_set(argparse.Namespace(**vars(args) | about))
    return out_dir


if __name__ == "__main__":
    run(main, DECODING)
