"""The table of tools/benchmark/padding.sh: accuracy against the audio that the encoder reads, per pad rule.

    tools/venv/bin/python tools/benchmark/padding.py

Validation chose the checkpoint and is what a default may be chosen by; the test set beside it only reports.
"""

import argparse
import json
from pathlib import Path

import torch
import yaml
from workload import report

from whisper_er.config import SAMPLE_RATE
from whisper_er.data import kaldi
from whisper_er.data.dataset import LENGTHS
from whisper_er.models.features import HOP, PadRule
from whisper_er.train.experiment import read_best, read_environment

EGS = Path(__file__).parents[2] / "egs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--egs", type=Path, default=EGS, help="where the recipes are (%(default)s)")
    args = parser.parse_args()
    rows, threads = [], set()
    for result in args.egs.glob("*/ser1/exp/padding/*/fold*/decode_default/test/score/result.json"):
        fold = result.parents[3]
        rows.append(cell(fold, json.loads(result.read_text())))
        threads.add(read_environment(fold)["threads"])
    if not rows:
        raise SystemExit(f"error: {args.egs}: no cell has been scored; run tools/benchmark/padding.sh")
    head = [
        "corpus",
        "system",
        "fold",
        "steps",
        "pad",
        "encoder reads s",
        "validation emotion WA",
        "test emotion UA",
        "95 % interval",
        "test emotion WA",
        "test gender UA",
    ]
    report({"benchmark": "padding", "threads": sorted(threads)}, cells=[head, *sorted(rows, key=order)])


def cell(fold: Path, result: dict) -> list:
    corpus, system = fold.parents[4].name, fold.parent.name.rpartition("_")[0]
    config = yaml.safe_load((fold / "config.yaml").read_text())
    test_set = fold.parents[3] / "dump" / fold.name / "test"
    samples = torch.tensor([int(value) for value in kaldi.read_table(test_set / LENGTHS).values()])
    frames = PadRule.parse(config["model"]["pad"]).frames(samples)
    emotion, gender = result["tasks"]["emotion"], result["tasks"].get("gender")
    low, high = emotion["intervals"]["utterance"]["ua"]
    return [
        corpus,
        system,
        fold.name.removeprefix("fold"),
        config["max_steps"],
        config["model"]["pad"],
        float(frames.double().mean()) * HOP / SAMPLE_RATE,
        100 * read_best(fold)["best"][0]["accuracy"],
        100 * emotion["ua"],
        f"{100 * low:.1f} to {100 * high:.1f}",
        100 * emotion["wa"],
        100 * gender["ua"] if gender else "",
    ]


def order(row: list) -> tuple:
    """Rules from the least to the most padding."""
    return (*row[:3], row[5])


if __name__ == "__main__":
    main()
