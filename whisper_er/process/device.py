"""The device that a model runs on, and the processes that read audio for it."""

import os

import torch

from whisper_er.base.errors import UserError
from whisper_er.process import torchrun


def choose_device(ngpu: int) -> torch.device:
    """The CPU (ngpu=0), or the GPU of this process; UserError where torch sees fewer than ngpu."""
    if ngpu == 0:
        return torch.device("cpu")
    if torch.cuda.device_count() < max(ngpu, torchrun.local_world_size()):
        raise UserError(
            f"ngpu={ngpu}: torch sees {torch.cuda.device_count()} GPUs on this machine; give ngpu=0 or run "
            "where there are as many"
        )
    device = torch.device("cuda", torchrun.local_rank())
    torch.cuda.set_device(device)
    return device


def find_device(name: str) -> torch.device:
    """The device of a name such as cpu, cuda, cuda:1; UserError where torch cannot use it."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device).numpy(force=True)  # "meta" holds nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: torch without CUDA
        reason = " ".join(str(error).split("\n")[0].split())[:200]
        raise UserError(f"device '{name}' cannot be used: {reason}; give cpu, or cuda where there is a GPU") from None
    return device


def autocast(device: torch.device, dtype: str, cache_enabled: bool = True) -> torch.autocast:
    """Autocast for the configuration's dtype: bfloat16 products on float32 weights, or none for float32.

    cache_enabled: keep the casts of weights until it ends.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16", cache_enabled=cache_enabled)


def reading_processes(wanted: int, device: torch.device) -> int:
    """Number of processes that read audio, one thread each: at most `wanted`, and at most one per core that is left.

    The model takes a core per thread on a CPU, and one beside a GPU. The processes that train on this machine share
    its cores.
    """
    model_cores = torch.get_num_threads() if device.type == "cpu" else 1
    return max(0, min(wanted, cores() // torchrun.local_world_size() - model_cores))


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))
