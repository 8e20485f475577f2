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
