"""Average the posteriors of several experiments on the same test set: seeds, or systems.

    whisper-er ensemble --exp_dirs exp/a_s exp/conventional --folds "1 2" --out_dir exp/ensemble
    whisper-er score --ref_dir dump/foldJOB/test --hyp_dir exp/ensemble/foldJOB/decode_default/test --tasks emotion \\
        --exp_dir exp/a_s/foldJOB --out exp/ensemble/foldJOB/decode_default/test/score/result.json --folds "1 2"
    whisper-er results --exp_dir exp/ensemble --folds "1 2" --test_sets test

Reads decode_<inference_tag>/<test_set> of every experiment, and writes the same directory of out_dir: of the categories
and scales that all of them have, the mean, and the answer by it. Texts are left out.
"""

import math
from pathlib import Path

from whisper_er.base.errors import UserError
from whisper_er.bin import make_parser, run
from whisper_er.score.ensemble import Member, write_ensemble


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--exp_dirs", type=Path, nargs="+", required=True, help="experiments that were decoded")
    parser.add_argument("--out_dir", type=Path, required=True, help="the ensemble's directory")
    parser.add_argument("--folds", default="", help='folds of all of them, e.g. "1 2"; empty: they have none')
    parser.add_argument("--test_set", default="test", help="%(default)s")
    parser.add_argument("--inference_tag", default="default", help="of decode_<inference_tag> (%(default)s)")
    parser.add_argument("--weights", default="", help='of each experiment, e.g. "1 1 2"; empty: equal')
    parser.add_argument("--calibrate", action="store_true", help="each by its own temperature; see calibrate")
    args = parser.parse_args()

    weights = parse_weights(args.weights, len(args.exp_dirs))
    hypotheses = Path(f"decode_{args.inference_tag}", args.test_set)
    for part in [f"fold{fold}" for fold in args.folds.split()] or [""]:
        members = [
            Member(exp_dir / part, exp_dir / part / hypotheses, weight)
            for exp_dir, weight in zip(args.exp_dirs, weights)
        ]
        out_dir = args.out_dir / part / hypotheses
        tasks = write_ensemble(out_dir, members, args.calibrate)
        print(f"{' '.join(task.name for task in tasks)} of {len(members)} experiments -> {out_dir}")


def parse_weights(text: str, number: int) -> list[float]:
    try:
        weights = [float(word) for word in text.split()] or [1.0] * number
    except ValueError:
        weights = []
    if len(weights) != number or not all(0 < weight < math.inf for weight in weights):
        raise UserError(f"--weights '{text}': give {number} numbers above 0, one per experiment, or leave it out")
    return weights


if __name__ == "__main__":
    run(main)
