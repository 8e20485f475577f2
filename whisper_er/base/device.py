import os

import torch

from whisper_er.base import distributed
from whisper_er.base.errors import UserError


def choose_device(ngpu: int) -> torch.device:
    """The CPU (ngpu=0), or this process's own among the machine's GPUs."""
    if ngpu == 0:
        return torch.device("cpu")
    if torch.cuda.device_count() < max(ngpu, distributed.local_world_size()):
        raise UserError(
            f"ngpu={ngpu}: torch sees {torch.cuda.device_count()} GPUs on this machine; give ngpu=0 or run "
            "where there are as many"
        )
    device = torch.device("cuda", distributed.local_rank())
    torch.cuda.set_device(device)
    return device


def find_device(name: str) -> torch.device:
    """By torch's name: cpu, cuda, cuda:1. UserError where there is no such device."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device).numpy(force=True)  # "meta" holds nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: torch without CUDA
        reason = " ".join(str(error).split("\n")[0].split())[:200]
        raise UserError(f"device '{name}' cannot be used: {reason}; give cpu, or cuda where there is a GPU") from None
    return device


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """What the configuration's dtype stands for: bfloat16 products on float32 weights, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def reading_processes(wanted: int, device: torch.device) -> int:
    """As many of the processes that are wanted for reading audio as there are cores left, one thread each.

    On a CPU the model's own threads take theirs first; a GPU leaves all but one. The processes that train on this
    machine share its cores.
    """
    taken = torch.get_num_threads() if device.type == "cpu" else 1
    return max(0, min(wanted, cores() // distributed.local_world_size() - taken))


def cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0))
