"""Saving: how long training stands still for what a validation saves, and how long a thread then writes.

    tools/venv/bin/python tools/benchmark/saving.py --model base --rounds 5

Saved are the checkpoint alone, and the checkpoint with the training state; the kinds take turns. The first round is not
counted: it allocates the buffers. Writing is timed with training waiting for it; a training that goes on shares the
cores with it.
"""

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from workload import hf_whisper, machine, our_whisper, report

from whisper_er.config import OptimConfig
from whisper_er.train.optimizer import make_optimizer
from whisper_er.train.saver import Saver

KINDS = {"checkpoint": False, "checkpoint and state": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", help="tiny, base, small, medium, large-v3, or a directory")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="saves of each kind; medians are shown (%(default)s)")
    parser.add_argument("--dir", type=Path, default=Path(), help="written below it, and removed (working directory)")
    args = parser.parse_args()
    saver = prepare(args.model, torch.device(args.device))
    seconds = {kind: [] for kind in KINDS}
    with TemporaryDirectory(dir=args.dir) as directory:
        checkpoint, state = Path(directory, "checkpoint"), Path(directory, "state")
        for number in range(args.rounds + 1):
            for kind, with_state in KINDS.items():
                taken = save(saver, checkpoint, state if with_state else None)
                if number:
                    seconds[kind].append(taken)
        size = {"checkpoint": checkpoint.stat().st_size / 1e9}
        size["checkpoint and state"] = size["checkpoint"] + state.stat().st_size / 1e9
    rows = [["saved", "stands still, s", "written after, s", "share", "GB"]]
    for kind, pairs in seconds.items():
        still, written = map(statistics.median, zip(*pairs))
        rows.append([kind, still, written, still / written, size[kind]])
    print(f"{machine(args.device)}; {args.model}; buffers of {held(saver):.2f} GB; median of {args.rounds}")
    report(
        {"benchmark": "saving", "model": args.model, "device": machine(args.device), "buffers": held(saver)},
        saving=rows,
    )


def prepare(model: str, device: torch.device) -> Saver:
    """The saver of a Whisper-ER that has made a step."""
    whisper = our_whisper(hf_whisper(model), "none").to(device)
    optimizer = make_optimizer(whisper, OptimConfig())
    for weight in whisper.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Saver(whisper, optimizer, device)


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
