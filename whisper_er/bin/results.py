"""Gather the scores of an experiment's folds: print the table, write RESULTS.md and result.json.

python -m whisper_er.bin.results --exp_dir exp/ser --folds "1 2 3 4 5" --test_sets "test"
"""

import argparse
import shlex
from pathlib import Path

from whisper_er.atomic import write_text
from whisper_er.bin import run
from whisper_er.errors import UserError
from whisper_er.results import collect
from whisper_er.results_markdown import render, summary_table
from whisper_er.scoring import to_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment; the results are written here")
    parser.add_argument("--folds", default="", help='folds to gather, e.g. "1 2 3"; empty: the experiment has none')
    parser.add_argument("--test_sets", required=True, help='test sets, e.g. "test"')
    parser.add_argument("--inference_tag", default="", help="decode_<inference_tag>; empty: all that every fold has")
    args = parser.parse_args()

    folds, test_sets = args.folds.split(), args.test_sets.split()
    if not test_sets:
        raise UserError("--test_sets: no test set is named; name at least one, e.g. \"test\"")
    results = [result for name in test_sets for result in collect(args.exp_dir, folds, name, args.inference_tag)]
    options = {key: value for key, value in vars(args).items() if value}
    command = shlex.join(["python", "-m", "whisper_er.bin.results",
                          *(word for key, value in options.items() for word in (f"--{key}", str(value)))])
    markdown, figures = args.exp_dir / "RESULTS.md", args.exp_dir / "result.json"
    write_text(figures, to_json({result.name: result.to_dict() for result in results}))
    write_text(markdown, render(args.exp_dir, command, results))
    for result in results:
        print(f"{result.name} of {args.exp_dir}\n{summary_table(result)}\n")
    print(f"tables, confusion matrices, protocol: {markdown}\nall figures: {figures}")


if __name__ == "__main__":
    run(main)
