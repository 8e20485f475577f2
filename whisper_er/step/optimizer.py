"""AdamW over the trained parameters, with a learning rate per part and, if asked for, a first moment in bfloat16."""

from collections.abc import Iterable

import torch
from torch.optim.adamw import adamw

from whisper_er.base.errors import UserError
from whisper_er.config import OptimConfig


class SmallAdamW(torch.optim.AdamW):
    """AdamW that keeps its first moment in bfloat16: 14 instead of 16 bytes a parameter, with weight and gradient.

    The arithmetic is that of fused AdamW; only the moment is rounded. The second moment stays float32: at beta2 =
    0.999 a step adds a thousandth of it, which is less than half of bfloat16's last place (2^-8), so it would stand
    still. A tenth, what a step changes in the first moment, is not lost.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), device=parameter.device)
                    state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                first_moment = state["exp_avg"].float()
                adamw(
                    [parameter], [parameter.grad], [first_moment], [state["exp_avg_sq"]], [], [state["step"]],
                    fused=True, found_inf=getattr(self, "found_inf", None), amsgrad=False, maximize=False,
                    beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"], eps=group["eps"],
                    weight_decay=group["weight_decay"],
                )  # fmt: skip
                # Anew in every step: load_state_dict gives moments the parameter's dtype.
                state["exp_avg"] = first_moment.bfloat16()


def make_optimizer(model: torch.nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW with a group per entry of lr_factors, of the parameters whose names contain it, and one for the rest."""
    groups: dict[str, list[torch.nn.Parameter]] = {"": [], **{key: [] for key in config.lr_factors}}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[next((key for key in config.lr_factors if key in name), "")].append(parameter)
    unused = [key for key in config.lr_factors if not groups[key]]
    if unused:
        raise UserError(f"optim.lr_factors: no parameter's name contains '{unused[0]}', frozen ones left out")
    factors = {"": 1.0, **config.lr_factors}
    optimizer = SmallAdamW if config.first_moment == "bfloat16" else torch.optim.AdamW
    return optimizer(
        [
            {"params": parameters, "lr": config.lr * factors[key], "full_lr": config.lr * factors[key]}
            for key, parameters in groups.items()
            if parameters
        ],
        betas=tuple(config.betas),
        weight_decay=config.weight_decay,
        fused=True,  # one pass over each tensor: the default on CPU makes several
    )


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def bytes_of_moments(model: torch.nn.Module, config: OptimConfig) -> int:
    """Of AdamW's two moments of what is trained."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    first_moment = getattr(torch, config.first_moment).itemsize
    return bytes_of(trained) + sum(parameter.numel() * first_moment for parameter in trained)
