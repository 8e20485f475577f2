"""Learning rates over the steps of a training; a linear warm-up opens each of them.

To add one by the step alone: a function and a line of SCHEDULES; its name is a value of `optim.schedule`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from whisper_er.config import OptimConfig

TIMESCALE = 10_000  # of inverse_sqrt without a warm-up, as transformers has it


class Schedule:
    """Sets the `lr` of the optimizer's groups, which keep their full rate as `full_lr`."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimConfig, max_steps: int) -> None:
        self.optimizer, self.config, self.max_steps = optimizer, config, max_steps

    def before_step(self, step: int) -> None:
        """Set the learning rate of a step. step: number of steps before it."""
        if step < self.config.warmup_steps:
            self.set_lr((step + 1) / self.config.warmup_steps)

    def set_lr(self, share: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_lr"] * share

    def after_validation(self, value: float) -> None:
        """Adapt to a validation. value: of optim.plateau_metric; an accuracy that is not defined is -inf."""

    def state_dict(self) -> dict[str, Any]:
        """State besides the step, as plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state of state_dict."""


class Plateau(Schedule):
    """torch's ReduceLROnPlateau on the validations: times plateau_factor when plateau_patience of them did not improve.

    During the warm-up its rates are overwritten.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimConfig, max_steps: int) -> None:
        super().__init__(optimizer, config, max_steps)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            "min" if config.plateau_metric == "loss" else "max",
            factor=config.plateau_factor,
            patience=config.plateau_patience,
        )

    def after_validation(self, value: float) -> None:
        self.plateau.step(value)

    def state_dict(self) -> dict[str, Any]:
        return self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.plateau.load_state_dict(state)


class ByStep(Schedule):
    """After the warm-up a share of the full rate that only the step decides: share(step, warmup_steps, max_steps)."""

    def __init__(
        self,
        share: Callable[[int, int, int], float],
        optimizer: torch.optim.Optimizer,
        config: OptimConfig,
        max_steps: int,
    ) -> None:
        super().__init__(optimizer, config, max_steps)
        self.share = share

    def before_step(self, step: int) -> None:
        super().before_step(step)
        if step >= self.config.warmup_steps:
            self.set_lr(self.share(step, self.config.warmup_steps, self.max_steps))


def constant(step: int, warmup_steps: int, max_steps: int) -> float:
    """The full rate."""
    return 1.0


def linear(step: int, warmup_steps: int, max_steps: int) -> float:
    """From 1 to 0, which it would reach at max_steps."""
    return (max_steps - step) / (max_steps - warmup_steps)


def cosine(step: int, warmup_steps: int, max_steps: int) -> float:
    """Half a cosine from 1 to 0, which it would reach at max_steps (Loshchilov and Hutter, 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (max_steps - warmup_steps)))


def inverse_sqrt(step: int, warmup_steps: int, max_steps: int) -> float:
    """(warmup_steps / step) ** 0.5 (Vaswani et al., 2017); without a warm-up (10000 / (step + 10000)) ** 0.5."""
    timescale = warmup_steps or TIMESCALE
    return math.sqrt(timescale / (step - warmup_steps + timescale))


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, OptimConfig, int], Schedule]] = {
    "plateau": Plateau,
    "constant": partial(ByStep, constant),
    "linear": partial(ByStep, linear),
    "cosine": partial(ByStep, cosine),
    "inverse_sqrt": partial(ByStep, inverse_sqrt),
}
