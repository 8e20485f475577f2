"""Memory: the peak of a training step under every way to lower it, and that of averaging checkpoints.

    tools/venv/bin/python tools/benchmark/memory.py --model base --average 10
    tools/venv/bin/python tools/benchmark/memory.py --model large-v3 --computed_only
    tools/venv/bin/python tools/benchmark/memory.py --model large-v3 --device cuda --dtype bfloat16
    tools/venv/bin/python tools/benchmark/memory.py --model base --ways "as it is" lora    # lora: setup.py's extra

A step is one of training, on the batch with the longest of --utterances, or on utterances of --seconds each.
Computed: torch's memory tracker follows two steps on tensors without memory; what a library sets aside for itself is
not in it. Measured: on a GPU what torch reserved at most, so with the memory that graphs share, and what else is taken
of the card, such as by the driver for graphs; on a CPU, in a process of its own, how much it grew.
Averaging: how much a process grows that averages checkpoints of --model and writes the result, beside the size of one.
"""

import gc
import multiprocessing
import os
import resource
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import WhisperForConditionalGeneration
from workload import TASKS, Vocabulary, batches, hf_config, hf_whisper, machine, options, our_whisper, report

from whisper_er.base.weights import average, save_weights
from whisper_er.batch import Batch
from whisper_er.config import SAMPLE_RATE, LoraConfig, ModelConfig, OptimConfig, TrainConfig
from whisper_er.models.base import Output
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

ROUNDED, ADAPTERS = {"optim": OptimConfig(first_moment="bfloat16")}, {"lora": LoraConfig(r=16)}
WAYS = {  # title -> options of training
    "as it is": {},
    "first_moment: bfloat16": ROUNDED,
    "activation_checkpointing": {"activation_checkpointing": True},
    "batch_size: 4, accum_grad: 4": {"accum_grad": 4},
    "all three": {**ROUNDED, "activation_checkpointing": True, "accum_grad": 4},
    "lora": ADAPTERS,
    "lora, activation_checkpointing": {**ADAPTERS, "activation_checkpointing": True},
}
IN_BFLOAT16 = {"bfloat16_weights": {"bfloat16_weights": True}}  # with autocast
ON_A_GPU = {"graphs: off": {"graphs": "off"}}
KNOWN = WAYS | IN_BFLOAT16 | ON_A_GPU


def main() -> None:
    parser = options(__doc__, utterances=3400)
    parser.add_argument("--seconds", type=float, default=0, help="length of every utterance; 0: drawn (%(default)s)")
    parser.add_argument("--computed_only", action="store_true", help="measure nothing: what does not fit this machine")
    parser.add_argument("--measured_only", action="store_true", help="compute nothing: large-v3 takes over 20 minutes")
    parser.add_argument(
        "--ways", nargs="+", choices=KNOWN, help="rows of the table (those of the dtype and the device)"
    )
    parser.add_argument("--average", type=int, default=0, help="checkpoints to average; 0: none (%(default)s)")
    args = parser.parse_args()
    seconds = longest_batch(args, {}).wave_BS.shape[1] / SAMPLE_RATE
    print(
        f"{machine(args.device)}; {args.model}, {args.dtype}, {args.batch_size} utterances of up to {seconds:.1f} s, "
        f"pad {args.pad}; GB = 1e9 bytes"
    )
    rows = [["training", "weights", "optimizer", "gradients, activations", "computed", "measured", "ratio"]]
    for title in args.ways or default_ways(args):
        parts = ["-"] * 4 if args.measured_only else computed(args, KNOWN[title])
        measured = "-" if args.computed_only else measure(args, KNOWN[title])
        both = not (args.measured_only or args.computed_only)
        rows.append([title, *parts, measured, measured / parts[-1] if both else "-"])
    tables = {"training": rows}
    if args.average:
        size, peak = apart(measure_average, args)
        tables["averaging"] = [["checkpoints", "one model", "growth", "ratio"], [args.average, size, peak, peak / size]]
    report(
        {
            "benchmark": "memory",
            "model": args.model,
            "device": machine(args.device),
            "dtype": args.dtype,
            "pad": args.pad,
            "seconds": seconds,
            "unit": "GB",
        },
        **tables,
    )


def longest_batch(args, way: dict) -> Batch:
    """Of one forward pass."""
    tokenizer, size = Tokenizer(Vocabulary(51865), TASKS, "whisper", "en"), args.batch_size // way.get("accum_grad", 1)
    drawn = batches(tokenizer, size, args.utterances, args.seconds)
    return max(drawn, key=lambda batch: batch.wave_BS.shape[1])


def apart(call, *args):
    """Its result, from a fresh process: peak memory is a process's own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *args).result()


def default_ways(args) -> list[str]:
    """All that need no extra, of the dtype and the device."""
    plain = [title for title, way in WAYS.items() if "lora" not in way]
    return [*plain, *(IN_BFLOAT16 if args.dtype == "bfloat16" else ()), *(ON_A_GPU if args.device != "cpu" else ())]


def prepare(args, way: dict) -> Trainer:
    config = TrainConfig(dtype=args.dtype, model=ModelConfig(whisper_model=args.model), **way)
    with torch.device(args.device):
        whisper = WhisperForConditionalGeneration(hf_config(args.model))
        model = our_whisper(whisper, args.pad, activation_checkpointing=config.activation_checkpointing)
        if config.lora.r:
            from whisper_er.adapt.lora import add_lora

            # Adapters are made on the device; without memory they could not be moved there.
            with mock.patch.object(torch.nn.Module, "to", lambda module, *_, **__: module):
                add_lora(model, config)
    for module in model.train().modules():  # the tracker knows no frozen weights, but buffers
        for name, weight in [*module.named_parameters(recurse=False)]:
            if not weight.requires_grad:
                delattr(module, name)
                module.register_buffer(name, weight.detach())
    return Trainer(model, model.tokenizer, config, Path(), torch.device(args.device))


def steps(trainer: Trainer, batch: Batch) -> None:
    """From the second step on the optimizer's state is there from the start; a graph is captured in the second."""
    for _ in range(3 if trainer.device.type == "cuda" else 2):
        passes = trainer.config.accum_grad
        trainer.step([batch] * passes, passes * len(batch), Sums(0))


def computed(args, way: dict) -> list[float]:
    """GB: weights, optimizer, the rest, all, at the peak."""
    batch = longest_batch(args, way)
    with FakeTensorMode(allow_non_fake_inputs=True):
        trainer = prepare(args, way | {"graphs": "off"})  # nothing is captured of what has no memory
        batch = batch.each(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=args.device))
    tracker = MemTracker()
    tracker.track_external(trainer.model, trainer.optimizer)

    def forward(batch: Batch) -> Output:
        tracker.reset_mod_stats()  # it knows one pass
        return trainer.model(batch)

    trainer.backward.parallel = forward
    with tracker:
        steps(trainer, batch)
    (peak,) = tracker.get_tracker_snapshot("peak").values()
    gigabytes = {str(kind).rpartition(".")[2]: size / 1e9 for kind, size in peak.items()}
    weights = gigabytes["PARAM"] + gigabytes["BUFFER"]
    states, everything = gigabytes["OPT"], gigabytes["Total"]
    return [weights, states, everything - weights - states, everything]


def measure(args, way: dict) -> float:
    """GB at the peak."""
    return apart(growth, args, way) if args.device == "cpu" else allocated(args, way)


def allocated(args, way: dict) -> float:
    """On a GPU, where one process is enough: what it held before is given back."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    steps(prepare(args, way), longest_batch(args, way))
    free, total = torch.cuda.mem_get_info()
    beside = total - free - torch.cuda.memory_reserved()
    return (torch.cuda.max_memory_reserved() + beside) / 1e9


def growth(args, way: dict) -> float:
    """On a CPU."""
    batch, before = longest_batch(args, way), resident()
    steps(prepare(args, way), batch)
    return peak_resident() - before


def measure_average(args) -> tuple[float, float]:
    """GB: a model, and the growth. The checkpoints are one file under several names, to spare the disk."""
    with TemporaryDirectory(dir=Path.cwd()) as directory:
        paths = [Path(directory, f"{number}.safetensors") for number in range(args.average)]
        apart(write_checkpoint, args.model, paths[0])
        for path in paths[1:]:
            os.link(paths[0], path)
        before = resident()
        save_weights(average(paths), Path(directory, "average.safetensors"))
        return paths[0].stat().st_size / 1e9, peak_resident() - before


def write_checkpoint(model: str, path: Path) -> None:
    save_weights(our_whisper(hf_whisper(model), "none").state_dict(), path)


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9


def peak_resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
