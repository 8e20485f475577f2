"""Data: how long a dump directory takes to open and to give its first batch, in what memory, and how fast batches come.

    tools/venv/bin/python tools/benchmark/data.py --utterances 10000 100000 1000000
    tools/venv/bin/python tools/benchmark/data.py --utterances 10000 --steps 20 --model tiny
    tools/venv/bin/python tools/benchmark/data.py --utterances 500 --parts "" --steps 60 --device cuda --workers 8

Opening is what stage 3 does before its first step, in a process of its own for every size: digests and speakers for the
experiment directory, the tables of the training set and of a validation set of a tenth of it read and validated, the
plan of an epoch, the first batch. Memory is what the process and its workers hold together at their tenth batch, pages
that they share counted once. All entries of wav.scp lie in an ark of 1000 utterances: one of a million has 150 GB.
Reading: batches of 16 of these 1000, as single files and in arks, which are in the system's memory since they were
written. A first round decodes what has to be decoded; the second goes round ten times, and starts its own processes, as
every epoch does. CPU time is that of the second, of all processes; where others use the machine, it is what to compare.
--steps: training with --model, and the share of its time that waits for data; and how long a batch takes to the device,
its samples as int16, as they travel, and as float32.
"""

import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from workload import (
    TASKS,
    Vocabulary,
    draw_seconds,
    hf_whisper,
    machine,
    options,
    our_whisper,
    report,
    seconds_of,
    synchronize,
)

from whisper_er.audio.writer import FORMATS, AudioWriter
from whisper_er.config import SAMPLE_RATE, TrainConfig
from whisper_er.data import kaldi
from whisper_er.data.batches import load
from whisper_er.data.plan import bucketed
from whisper_er.data.shared_memory import SampleCache
from whisper_er.data.utterances import LENGTHS, read_utterances
from whisper_er.process.device import reading_processes
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.train.experiment import describe
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer, timed

RECORDED = 1000


def main() -> None:
    parser = options(__doc__, utterances=[10_000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4], help="reading processes (%(default)s)")
    parser.add_argument("--steps", type=int, default=0, help="of training with --model, on the smallest (%(default)s)")
    parser.add_argument("--parts", default="opening reading", help="beside training (%(default)s)")
    args = parser.parse_args()
    parts = args.parts.split()
    print(f"{machine(args.device)}; batch {args.batch_size}")
    tables = {}
    with TemporaryDirectory() as directory:
        root = Path(directory)
        recorded = min(RECORDED, max(args.utterances))
        formats = FORMATS if "reading" in parts else ["wav.ark"]
        entries = {audio_format: record(root / audio_format, audio_format, recorded) for audio_format in formats}
        for number in args.utterances:
            write_dump(root / str(number), number, entries["wav.ark"])
            write_dump(root / f"{number}.valid", number // 10, entries["wav.ark"])
        if "opening" in parts:
            head = ["utterances", "workers", "tables s", "plan s", "first batch s", "all s", "peak MB"]
            tables["opening"] = [[*head, "with workers MB"]]
            for number in args.utterances:
                for workers in args.workers:
                    row = apart(opening, root / str(number), workers, args.batch_size)
                    tables["opening"].append([number, workers, *row])
        if "reading" in parts:
            head = ["audio in", "workers", "first round, utt/s", "second round, utt/s", "first batch ms", "CPU us/utt"]
            tables["reading"] = [head]
            for audio_format in FORMATS:
                dump = root / f"{audio_format}.dump"
                write_dump(dump, recorded, entries[audio_format])
                for workers in args.workers:
                    tables["reading"].append([audio_format, workers, *reading(dump, workers, args.batch_size)])
        if args.steps:
            tables["training"] = [
                ["processes", "utt/s", "waiting for data, %"],
                training(args, root / str(args.utterances[0])),
            ]
            tables["to the device"] = [["samples", "MB a batch", "ms a batch"], *transfers(args)]
    report({"benchmark": "data", "device": machine(args.device), "model": args.model, "dtype": args.dtype}, **tables)


def record(directory: Path, audio_format: str, number: int) -> list[tuple[str, int]]:
    """So many utterances of noise: their entries of wav.scp and samples."""
    directory.mkdir()
    random, entries = np.random.default_rng(0), []
    with AudioWriter(directory, directory, audio_format, "audio") as writer:
        for index, seconds in enumerate(draw_seconds()[:number]):
            samples = random.standard_normal(round(seconds * SAMPLE_RATE), dtype=np.float32) * 0.05
            entries.append((writer.write(f"utt{index:04}", samples), len(samples)))
    return entries


def write_dump(directory: Path, number: int, entries: list[tuple[str, int]]) -> None:
    """A dump directory of `number` utterances that go round the recorded ones, spoken by a thousand people."""
    random = np.random.default_rng(1)
    words = [" ".join(map(str, random.integers(0, 50000, max(1, samples // 5000)))) for _, samples in entries]
    utt_ids = [f"utt{index:09}" for index in range(number)]
    values = {
        "wav.scp": [entry for entry, _ in entries], LENGTHS: [str(samples) for _, samples in entries], "text": words,
        "utt2spk": [f"speaker{index:04}" for index in range(len(entries))],
        **{task.table: task.labels for task in TASKS[1:]},
    }  # fmt: skip
    directory.mkdir()
    for name, column in values.items():
        kaldi.write_table(directory / name, {utt_id: column[i % len(column)] for i, utt_id in enumerate(utt_ids)})


def apart(call: Callable, *args) -> list:
    """Its result, from a fresh process: peak memory is a process's own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *args).result()


def opening(dump: Path, workers: int, batch_size: int) -> list[float]:
    """Seconds of each part and of all, and MB: the process's own peak, and with workers at the tenth batch."""
    started = time.perf_counter()
    tokenizer = Tokenizer(Vocabulary(51865), TASKS, "whisper", "en")
    valid = dump.with_suffix(".valid")
    describe(TrainConfig(), {"train_set": dump, "valid_set": valid}, {})
    utterances, _ = read_utterances(dump, tokenizer, "truncate"), read_utterances(valid, tokenizer, "truncate")
    read = time.perf_counter()
    plan = bucketed(utterances.num_samples_N, batch_size, seed=1)
    planned = time.perf_counter()
    batches = load(utterances, plan, tokenizer, 448, workers, torch.device("cpu"))
    next(batches)
    first = time.perf_counter()
    for _ in range(9):
        next(batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    together = held("self") + sum(held(str(child.pid)) for child in multiprocessing.active_children())
    return [read - started, planned - read, first - planned, first - started, peak, together]


def held(pid: str) -> float:
    """MB of a process, a page that n processes share counted as 1/n."""
    line = next(line for line in Path("/proc", pid, "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1000


def reading(dump: Path, workers: int, batch_size: int) -> list[float]:
    """Utterances a second in the first round and in the second; milliseconds to the first batch of the second, which
    start its processes, and CPU microseconds an utterance."""
    tokenizer = Tokenizer(Vocabulary(51865), TASKS, "whisper", "en")
    utterances = read_utterances(dump, tokenizer, "truncate")
    cache = SampleCache(utterances.num_samples_N, 1e9 * TrainConfig().cache_gb)
    plan, rates = bucketed(utterances.num_samples_N, batch_size, seed=1), []
    for rounds in (1, 10):
        cpu_before, start = cpu_seconds(), time.perf_counter()
        batches = load(utterances, plan * rounds, tokenizer, 448, workers, torch.device("cpu"), cache=cache)
        next(batches)
        first = time.perf_counter() - start
        for _ in batches:
            pass
        rates.append(rounds * len(utterances) / (time.perf_counter() - start))
    return [*rates, 1e3 * first, 1e6 * (cpu_seconds() - cpu_before) / (rounds * len(utterances))]


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def training(args, dump: Path) -> list:
    """Reading processes, utterances a second, and the percentage of the time in which no batch was ready, from the
    second step on; on a GPU after three epochs."""
    device = torch.device(args.device)
    model = our_whisper(hf_whisper(args.model, args.device), args.pad).train()
    config = TrainConfig(batch_size=args.batch_size, num_workers=max(args.workers), dtype=args.dtype)
    with TemporaryDirectory() as exp_dir:
        trainer = Trainer(model, model.tokenizer, config, Path(exp_dir), device)
        steps = timed(trainer.steps(read_utterances(dump, model.tokenizer, "truncate")))
        waited = number = 0
        first = 0 if args.device == "cpu" else 3 * math.ceil(args.utterances / args.batch_size)  # graphs are captured
        for index, ((micro_batches, size), seconds) in zip(range(first + args.steps + 1), steps):
            trainer.judge.add(trainer.step(micro_batches, size, Sums(0)))
            if index <= first:
                synchronize(args.device)
                start = time.perf_counter()
                continue
            waited, number = waited + seconds, number + size
        synchronize(args.device)
        taken = time.perf_counter() - start
    return [reading_processes(config.num_workers, device), number / taken, 100 * waited / taken]


def transfers(args) -> list[list]:
    """Of a batch of 10 s an utterance, from page-locked memory where the device is a GPU."""
    device, rows = torch.device(args.device), []
    for dtype in (torch.int16, torch.float32):
        wave_BS = torch.zeros(args.batch_size, 10 * SAMPLE_RATE, dtype=dtype)
        wave_BS = wave_BS.pin_memory() if args.device != "cpu" else wave_BS
        move = partial(wave_BS.to, device, non_blocking=True)
        seconds_of(move, args.device)
        taken = sum(seconds_of(move, args.device) for _ in range(20)) / 20
        rows.append([str(dtype).removeprefix("torch."), wave_BS.nbytes / 1e6, 1e3 * taken])
    return rows


if __name__ == "__main__":
    main()
