import os

import torch

from whisper_er.errors import UserError


def choose_device(ngpu: int) -> torch.device:
    """The CPU (ngpu=0) or the one GPU (ngpu=1)."""
    if ngpu and not torch.cuda.is_available():
        raise UserError("ngpu=1: torch sees no GPU on this machine; give ngpu=0 or run where there is one")
    return torch.device("cuda" if ngpu else "cpu")


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """What the configuration's dtype stands for: bfloat16 products on float32 weights, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def reading_processes(wanted: int, device: torch.device) -> int:
    """As many of the processes that are wanted for reading audio as there are cores left, one thread each.

    On a CPU the model's own threads take theirs first; a GPU leaves all but one.
    """
    taken = torch.get_num_threads() if device.type == "cpu" else 1
    return max(0, min(wanted, cores() - taken))


def cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0))
