"""AdamW over the trained parameters, with a learning rate per part and, if asked for, a first moment in bfloat16; and
copies of weights in bfloat16, which a step computes with.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

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


class Bfloat16Copies:
    """The weights and biases of linear and convolution layers in bfloat16, written once after each update.

    Autocast casts these in every forward pass, and their gradients back one by one: 1.5 billion numbers of large-v3.
    With the copies in their place it casts nothing and gives the same bits. All else stays float32, as under autocast:
    layer norms, positions, and the token table: looked up as it is, and cast by autocast for the output product.
    The model itself, and so the optimizer, checkpoints, states and validation, keeps its float32 weights.

    Nothing here depends on a value of the device, and weights and copies keep their places in memory: fit for a graph.
    """

    def __init__(self, modules: Iterable[torch.nn.Module]) -> None:
        """modules: those of a model on its device, its freezing done; none: there are no copies."""
        self.copies: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
        self.places: list[tuple[torch.nn.Module, str, torch.nn.Parameter]] = []
        for module in modules:
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv1d)):
                for name, weight in module.named_parameters(recurse=False):
                    self.places.append((module, name, weight))
                    copy = torch.nn.Parameter(weight.detach().bfloat16(), weight.requires_grad)
                    self.copies.setdefault(weight, copy)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """For a forward and backward pass: the layers have the copies; the gradients then move to the weights."""
        for module, name, weight in self.places:
            setattr(module, name, self.copies[weight])
        try:
            yield
            self.move_gradients()
        finally:
            for module, name, weight in self.places:
                setattr(module, name, weight)
            for copy in self.copies.values():  # of a pass that failed
                copy.grad = None

    def move_gradients(self) -> None:
        """Add the copies' gradients to the weights', which sum micro-batches in float32."""
        for weight, copy in self.copies.items():
            if copy.grad is None:
                continue
            if weight.grad is None:
                weight.grad = copy.grad.float()
            else:
                weight.grad.add_(copy.grad)
            copy.grad = None

    @torch.no_grad()
    def write(self) -> None:
        """Round the weights to the copies, after an update or a load."""
        if self.copies:
            torch._foreach_copy_(list(self.copies.values()), list(self.copies))
