"""What a validation is worth: WA, UA or the loss. It ranks checkpoints, ends training early and drives the plateau.

An entry is a validation as best.json lists it: {step, accuracy, ua, loss} of the selecting task. accuracy: WA, CCC of a
scale, 1 - WER of a text, -inf where it is not defined; ua: None where the task has none, or it is not defined; loss: of
all tasks.
"""

import math
from typing import Any

from whisper_er.base.errors import UserError
from whisper_er.config import TrainConfig
from whisper_er.task import Task

KEYS = {"wa": "accuracy", "ua": "ua", "loss": "loss"}  # metric, as a configuration names it -> key of an entry


def value_of(entry: dict[str, Any], metric: str) -> float:
    value = entry[KEYS[metric]]
    return -math.inf if value is None else value


def worth(entry: dict[str, Any], metric: str) -> float:
    """Higher is better."""
    return -value_of(entry, metric) if metric == "loss" else value_of(entry, metric)


def rank(entries: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """The best first: by the metric, and among equals by the lower validation loss."""
    return sorted(entries, key=lambda entry: (-worth(entry, metric), entry["loss"]))


def name_of(metric: str, task: str) -> str:
    """The metric in best.json and in the name of the averaged weights."""
    return "valid_loss" if metric == "loss" else f"valid_{task}_{KEYS[metric]}"


def reason_to_stop(step: int, since_better: int, config: TrainConfig) -> str:
    """The reason to end after a validation; "" to go on. since_better: validations since the best one so far."""
    if step >= config.max_steps:
        return f"max_steps={config.max_steps} reached"
    if since_better >= config.patience:
        return f"no improvement in {config.patience} validations"
    return ""


def check_metrics(config: TrainConfig, task: Task) -> None:
    """UserError where UA shall select by a task that has none."""
    for option, metric in (
        ("valid.select", config.valid.select),
        ("optim.plateau_metric", config.optim.plateau_metric),
    ):
        if metric == "ua" and task.kind != "category":
            raise UserError(
                f"{option}: ua is not allowed with valid_task '{task.name}', a {task.kind}, which has no UA; allowed: "
                f"wa ({'1 - WER' if task.kind == 'text' else 'CCC'}), loss, or a category as valid_task"
            )
