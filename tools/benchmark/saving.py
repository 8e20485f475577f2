"""Saving: how long training stands still for what a validation saves, and how long a thread then writes.

    tools/venv/bin/python tools/benchmark/saving.py --model base --rounds 5
    tools/venv/bin/python tools/benchmark/saving.py --model base --rounds 2 --device cuda --dtype bfloat16 --beside

Saved are the checkpoint alone, and the checkpoint with the training state; the kinds take turns. The first round is not
counted: it allocates the buffers. Writing is timed with training waiting for it; a training that goes on shares the
cores with it: --beside times its steps, alone and while a state is written.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from workload import batches, hf_whisper, machine, options, our_whisper, report, seconds_of

from whisper_er.batch import Batch
from whisper_er.config import TrainConfig
from whisper_er.train.saver import Saver
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

KINDS = {"checkpoint": False, "checkpoint and state": True}


def main() -> None:
    parser = options(__doc__, utterances=16)
    parser.add_argument("--rounds", type=int, default=5, help="saves of each kind; medians are shown (%(default)s)")
    parser.add_argument("--dir", type=Path, default=Path(), help="written below it, and removed (working directory)")
    parser.add_argument("--beside", action="store_true", help="steps beside the writing as well")
    args = parser.parse_args()
    trainer, batch = prepare(args)
    trainer.step([batch], len(batch), Sums(0))
    saver = trainer.saver
    seconds = {kind: [] for kind in KINDS}
    with TemporaryDirectory(dir=args.dir) as directory:
        checkpoint, state = Path(directory, "checkpoint"), Path(directory, "state")
        for number in range(args.rounds + 1):
            for kind, with_state in KINDS.items():
                taken = save(saver, checkpoint, state if with_state else None)
                if number:
                    seconds[kind].append(taken)
        beside = steps_beside(trainer, batch, checkpoint, state) if args.beside else []
        size = {"checkpoint": checkpoint.stat().st_size / 1e9}
        size["checkpoint and state"] = size["checkpoint"] + state.stat().st_size / 1e9
    rows = [["saved", "stands still, s", "written after, s", "share", "GB"]]
    for kind, pairs in seconds.items():
        still, written = map(statistics.median, zip(*pairs))
        rows.append([kind, still, written, still / written, size[kind]])
    tables = {"saving": rows}
    if beside:
        tables["beside"] = [["s a step alone", "s a step beside the writing", "ratio", "steps beside"], beside]
    print(f"{machine(args.device)}; {args.model}; buffers of {held(saver):.2f} GB; median of {args.rounds}")
    report(
        {"benchmark": "saving", "model": args.model, "device": machine(args.device), "buffers": held(saver)},
        **tables,
    )


def prepare(args) -> tuple[Trainer, Batch]:
    """The training of a Whisper-ER, and the batch of its steps."""
    model = our_whisper(hf_whisper(args.model, args.device), args.pad).train()
    config = TrainConfig(dtype=args.dtype, batch_size=args.batch_size)
    (batch,) = batches(model.tokenizer, args.batch_size, args.batch_size)
    return Trainer(model, model.tokenizer, config, Path(), torch.device(args.device)), batch


def steps_beside(trainer: Trainer, batch: Batch, checkpoint: Path, state: Path) -> list:
    """Median seconds of a step: alone, while checkpoint and state are written, the ratio; how many those were."""

    def step() -> float:
        return seconds_of(lambda: trainer.step([batch], len(batch), Sums(0)), trainer.device.type)

    alone = statistics.median([step() for _ in range(10)][5:])  # the first ones may capture graphs
    trainer.saver.save(checkpoint, state, {}, then=lambda: None)
    taken = [step()]
    while trainer.saver.thread.is_alive():
        taken.append(step())
    trainer.saver.wait()
    beside = statistics.median(taken)
    return [alone, beside, beside / alone, len(taken)]


def save(saver: Saver, checkpoint: Path, state: Path | None) -> tuple[float, float]:
    """Seconds until training would go on, and until all is on disk."""
    start = time.perf_counter()
    saver.save(checkpoint, state, {}, then=lambda: None)
    copied = time.perf_counter()
    saver.wait()
    return copied - start, time.perf_counter() - start


def held(saver: Saver) -> float:
    """GB of the copies."""
    return sum(buffer.nbytes for buffer in saver.buffers.values()) / 1e9


if __name__ == "__main__":
    main()
