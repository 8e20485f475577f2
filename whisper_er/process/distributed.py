"""Communication between the processes of one training, which torchrun starts; any other process is alone.

Tensors on a CPU travel by gloo, those on GPUs by NCCL. Plain values travel as JSON: nothing is unpickled.
"""

import json
import os
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from whisper_er.process import torchrun

# Longer than the main process takes to write the state of a large model. A process that dies is noticed at once: this
# is for one that hangs.
TIMEOUT = timedelta(hours=1)


def start() -> None:
    """Join the process group, if there is one. Only the main process prints; errors are printed by all."""
    if torchrun.world_size() == 1:
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    # They share the machine's cores.
    torch.set_num_threads(max(1, torch.get_num_threads() // torchrun.local_world_size()))
    if not is_main():
        sys.stdout = open(os.devnull, "w", encoding="utf-8", errors="replace")  # whatever the locale


def rank() -> int:
    """0 to world_size() - 1; 0 is the main process, which alone writes and logs."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    return rank() == 0


def all_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over the processes, in place. A GPU queues it; nothing waits."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def gather(value: Any) -> list[Any]:
    """The JSON values of all processes, by rank, on every process. All have to call it."""
    if not dist.is_initialized():
        return [value]
    encoded = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.long) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(encoded)]))
    longest = int(max(sizes))
    texts = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(texts, torch.nn.functional.pad(encoded, (0, longest - len(encoded))))
    return [json.loads(bytes(text[: int(size)].numpy())) for text, size in zip(texts, sizes)]


def from_main(value: Any) -> Any:
    """The main process's JSON value, on every process."""
    return gather(value)[0]
