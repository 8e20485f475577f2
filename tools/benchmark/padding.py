"""The table of tools/benchmark/padding.sh: what each pad rule reaches, and how much audio the encoder reads by it.

    tools/venv/bin/python tools/benchmark/padding.py

Validation chose the checkpoint and is what a default may be chosen by; the tests beside it only report. Of one seed an
emotion UA has its 95 % interval by utterance, of several they are mean ± sd.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
import yaml
from workload import report

from whisper_er.config import SAMPLE_RATE
from whisper_er.data import kaldi
from whisper_er.data.utterances import LENGTHS
from whisper_er.models.features import HOP, PadRule
from whisper_er.train.experiment import read_best, read_environment

EGS = Path(__file__).parents[2] / "egs"
OTHER = {"emodb": "ravdess", "ravdess": "emodb"}
HEAD = [
    "trained on",
    "system",
    "fold",
    "steps",
    "pad",
    "seeds",
    "encoder reads s",
    "validation WA",
    "test UA",
    "test WER",
    "other corpus UA",
    "other corpus WER",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--egs", type=Path, default=EGS, help="where the recipes are (%(default)s)")
    args = parser.parse_args()
    cells: dict[tuple, list[Path]] = {}
    for result in sorted(args.egs.glob("*/ser1/exp/padding/*/seed*/fold*/decode_default/test/score/result.json")):
        fold = result.parents[3]
        cells.setdefault((fold.parents[1], fold.name), []).append(fold)
    if not cells:
        raise SystemExit(f"error: {args.egs}: no cell has been scored; run tools/benchmark/padding.sh")
    threads = {read_environment(fold)["threads"] for folds in cells.values() for fold in folds}
    rows = sorted(map(row_of, cells.values()), key=order)
    report({"benchmark": "padding", "threads": sorted(threads)}, cells=[HEAD, *rows])


def row_of(folds: list[Path]) -> list:
    """folds: one fold's directory in each seed."""
    fold = folds[0]
    recipe, config = fold.parents[4], yaml.safe_load((fold / "config.yaml").read_text())
    pad, shares = config["model"]["pad"], config["model"].get("train_pad") or {}
    samples = [int(value) for value in kaldi.read_table(recipe / "dump" / fold.name / "test" / LENGTHS).values()]
    frames = PadRule.parse(pad).frames(torch.tensor(samples))
    corpus = recipe.parent.name
    tested = [read(folds, name) for name in ("default", OTHER[corpus])]
    return [
        corpus,
        fold.parents[1].name.rsplit("_", 2)[0],
        fold.name.removeprefix("fold"),
        config["max_steps"],
        f"{pad}, trained with {' '.join(f'{rule} {share:g}' for rule, share in shares.items())}" if shares else pad,
        len(folds),
        float(frames.double().mean()) * HOP / SAMPLE_RATE,
        shown([read_best(fold)["best"][0]["accuracy"] for fold in folds]),
        *(cell for results in tested for cell in (emotion(results), wer(results))),
    ]


def read(folds: list[Path], decoding: str) -> list[dict]:
    """The tasks of the results of all seeds; none while one is missing."""
    paths = [fold / f"decode_{decoding}" / "test" / "score" / "result.json" for fold in folds]
    return [json.loads(path.read_text())["tasks"] for path in paths] if all(path.is_file() for path in paths) else []


def emotion(results: list[dict]) -> str:
    if len(results) != 1:
        return shown([tasks["emotion"]["ua"] for tasks in results])
    low, high = results[0]["emotion"]["intervals"]["utterance"]["ua"]
    return f"{shown([results[0]['emotion']['ua']])} [{100 * low:.1f} to {100 * high:.1f}]"


def wer(results: list[dict]) -> str:
    return shown([tasks["asr"]["wer"] for tasks in results if "asr" in tasks])


def shown(values: list[float]) -> str:
    """In percent: the value, or mean ± sd of several."""
    if not values:
        return "-"
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def order(row: list) -> tuple:
    """Rules from the least to the most padding, the mixture after its rule alone."""
    return (*row[:4], row[6], row[4])


if __name__ == "__main__":
    main()
