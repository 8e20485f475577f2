"""What figures hold beside numbers, as result.json has it: shapes for base.plain_files, and both ways between."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isnan, nan
from typing import Any

from whisper_er.base.plain_files import Shape
from whisper_er.score.bootstrap import Interval
from whisper_er.score.calibration import ReliabilityBin
from whisper_er.score.metrics import WordErrors

NUMBER = (float, None)
Intervals = Mapping[str, Mapping[str, Interval]]  # unit that is resampled -> figure -> interval


@dataclass(frozen=True)
class Part:
    """shape: in the file; read: from that to the field of a dataclass; write: back; rare: left out where empty."""

    shape: Shape
    read: Callable[[Any], Any] = lambda value: value
    write: Callable[[Any], Any] = lambda value: value
    rare: bool = False


def defined(value: float) -> float | None:
    """JSON has no NaN."""
    return None if isnan(value) else float(value)


def or_nan(value: float | None) -> float:
    return nan if value is None else value


def read_intervals(units: Mapping) -> Intervals:
    """ValueError where an interval has not two ends."""
    if any(len(ends) != 2 for figures in units.values() for ends in figures.values()):
        raise ValueError("an interval has not two ends")
    return {
        unit: {name: Interval(*map(or_nan, ends)) for name, ends in figures.items()} for unit, figures in units.items()
    }


def write_intervals(units: Intervals) -> dict:
    return {
        unit: {name: [defined(one.low), defined(one.high)] for name, one in figures.items()}
        for unit, figures in units.items()
    }


def read_bins(content: Mapping) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(one["low"], one["high"], int(one["count"]), or_nan(one["confidence"]), or_nan(one["accuracy"]))
        for one in content["bins"]
    )


def write_bins(bins: Sequence[ReliabilityBin]) -> dict:
    return {"num_bins": len(bins), "bins": [{key: defined(value) for key, value in vars(one).items()} for one in bins]}


def read_words(content: Mapping) -> WordErrors:
    return WordErrors(*(content[one.name] for one in fields(WordErrors)))


def write_words(words: WordErrors) -> dict:
    return vars(words) | {"reference_words": words.reference_words}


BIN = {"low": float, "high": float, "count": float, "confidence": NUMBER, "accuracy": NUMBER}
INTERVALS = Part({str: {str: [NUMBER]}}, read_intervals, write_intervals)
BINS = Part({"bins": [BIN]}, read_bins, write_bins)
WORDS = Part({one.name: int for one in fields(WordErrors)}, read_words, write_words)
NAMES = Part([str], tuple, list)
RARE_NAMES = Part([str], tuple, list, rare=True)
