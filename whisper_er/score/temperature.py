"""Calibration by temperature (Guo et al., 2017, sec. 4.2): one number per category divides its log posterior.

It is fitted on the validation set, kept in the experiment as calibration.json, and used where `calibrate` asks for it.
Which label is the most probable, it does not change. Axes: N utterances, C labels.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from whisper_er.base.errors import UserError
from whisper_er.base.files import write_text
from whisper_er.base.plain_files import parse_json, read_plain
from whisper_er.score.figures import posterior_figures
from whisper_er.score.pairing import TaskPairs
from whisper_er.task import Task

CALIBRATION = "calibration.json"
LOWEST, HIGHEST = 0.01, 100.0
HALVINGS = 60  # of the interval, until float64 tells its ends no more apart
SMALLEST = float(np.finfo(np.float32).tiny)  # what a posterior of float32 rounds to 0
SHAPE = {"weights": str, "tasks": {str: {"temperature": float}}}
REMEDY = "run whisper-er calibrate again"


@dataclass(frozen=True)
class Fit:
    """ece, nll: (before, after), of the utterances that it was fitted on."""

    temperature: float
    num_utterances: int
    ece: tuple[float, float]
    nll: tuple[float, float]


def tempered(posterior: Sequence[float] | np.ndarray, temperature: float) -> np.ndarray:
    """float64 (..., C): softmax(log posterior / temperature)."""
    scaled = log(posterior) / temperature
    weights = np.exp(scaled - scaled.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def fit_temperature(posterior_NC: np.ndarray, reference_N: np.ndarray) -> float | None:
    """The temperature of the least NLL. reference_N: position of the right label.

    None where that does not lie between LOWEST and HIGHEST: where every label is right, NLL asks for certainty without
    end, which the first error outside of these utterances would belie; by chance alone, for none.

    NLL is convex in 1 / temperature. Its slope there, the mean of E[log posterior] - log posterior of the reference,
    rises, and bisection finds where it is 0.
    """
    logp_NC = log(posterior_NC)
    reference_logp_N = logp_NC[np.arange(len(reference_N)), reference_N]

    def slope(temperature: float) -> float:
        expected_N = (tempered(posterior_NC, temperature) * logp_NC).sum(-1)
        return float((expected_N - reference_logp_N).mean())

    if not slope(LOWEST) > 0 > slope(HIGHEST):
        return None
    low, high = LOWEST, HIGHEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low


def log(posterior: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(posterior, dtype=np.float64), SMALLEST))


def fit(task: Task, values: TaskPairs) -> Fit | None:
    """values: of labelled and answered utterances, at least one. None where no temperature is best."""
    posterior_NC = np.array([[posterior[label] for label in task.labels] for posterior in values.posterior])
    reference_N = np.array([task.index(label) for label in values.reference])
    temperature = fit_temperature(posterior_NC, reference_N)
    if temperature is None:
        return None
    rows = tempered(posterior_NC, temperature).tolist()
    after = replace(values, posterior=tuple(dict(zip(task.labels, row)) for row in rows))
    figures = [posterior_figures(one) for one in (values, after)]
    ece, nll = (tuple(one[name] for one in figures) for name in ("ece", "nll"))
    return Fit(temperature, len(reference_N), ece, nll)


def write_fits(exp_dir: Path, fits: dict[str, Fit], weights: str, about: dict[str, Any]) -> None:
    """Write calibration.json. weights: the file whose posteriors it was fitted on; about: where these lie."""
    content = {"weights": weights, **about, "tasks": {task: asdict(fit) for task, fit in fits.items()}}
    write_text(exp_dir / CALIBRATION, json.dumps(content, indent=1) + "\n")


def read_temperatures(exp_dir: Path, weights: str) -> dict[str, float]:
    """Task -> temperature; none where nothing was fitted, or only on the posteriors of other weights."""
    path, what = exp_dir / CALIBRATION, "what calibrate writes"
    if not path.is_file():
        return {}
    content = read_plain(parse_json, path, SHAPE, what, REMEDY)
    temperatures = {task: one["temperature"] for task, one in content["tasks"].items()}
    for task, temperature in temperatures.items():
        if not LOWEST <= temperature <= HIGHEST:
            raise UserError(
                f"{path}: the temperature of {task} is {temperature}; allowed are {LOWEST} to {HIGHEST:g}; {REMEDY}"
            )
    return temperatures if content["weights"] == weights else {}
