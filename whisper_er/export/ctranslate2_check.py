"""Compare a converted model with its original: both decode a set, differences are counted, each is timed."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from whisper_er.base.errors import UserError, first_few
from whisper_er.batch import Batch
from whisper_er.config import DecodeConfig
from whisper_er.recognize.ctranslate2_engine import CTranslate2Whisper
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.report.markdown import table
from whisper_er.task import Prediction, Task

CHECK = "check.json"
SETTINGS = ("beam_size", "length_penalty", "maxlenratio", "no_repeat_ngram_size", "batch_size")  # that both obey
SCALE_TOLERANCE = 0.01  # of a scale's range


@dataclass
class Check:
    """different: task -> ids of the utterances that the two predict differently; utterances_per_second: of each;
    completed: hypotheses of CTranslate2 that lacked a label at its place; quantization: of the stored weights,
    compute_type: of the products; decoding: how both were decoded.
    """

    quantization: str
    compute_type: str
    decoding: dict[str, str | int | float]
    threads: int
    different: dict[str, list[str]]
    num_utterances: int = 0
    audio_seconds: float = 0.0
    completed: int = 0
    utterances_per_second: dict[str, float] = field(default_factory=dict)

    def different_answers(self, tasks: Sequence[Task]) -> list[str]:
        """Ids of utterances with another label for a category or scale; if all tasks are text, with another text."""
        required = [task for task in tasks if task.kind != "text"] or tasks
        return sorted({utt_id for task in required for utt_id in self.different[task.name]})

    def write(self, directory: Path) -> None:
        (directory / CHECK).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def table(self) -> str:
        rows = [["task", "utterances", "equal"]]
        rows += [
            [name, str(self.num_utterances), str(self.num_utterances - len(ids))]
            for name, ids in self.different.items()
        ]
        return table(rows)

    def speed_table(self) -> str:
        return table(
            [
                ["decoded by", "utterances/s"],
                *([name, f"{speed:.2f}"] for name, speed in self.utterances_per_second.items()),
            ]
        )


def compare(
    ours: Recognizer, theirs: Recognizer, batches: Iterable[Batch], config: DecodeConfig, quantization: str
) -> Check:
    """Decode every batch with `ours`, then with `theirs`, CTranslate2's; the first batch also warms both up."""
    # CTranslate2 has no other
    config = replace(config, posterior="best", decide="best", calibrate=False, prior_correction=0.0)
    converted: CTranslate2Whisper = theirs.model
    tasks = ours.tokenizer.tasks
    check = Check(
        quantization=quantization,
        compute_type=converted.engine.compute_type,
        decoding={key: getattr(config, key) for key in SETTINGS},
        threads=torch.get_num_threads(),
        different={task.name: [] for task in tasks},
    )
    decoding_seconds = {"whisper_er": 0.0, "CTranslate2": 0.0}
    for number, batch in enumerate(batches):
        if number == 0:
            decode(ours, batch, config), decode(theirs, batch, config)
            converted.completed = 0
        original, seconds = decode(ours, batch, config)
        decoding_seconds["whisper_er"] += seconds
        other, seconds = decode(theirs, batch, config)
        decoding_seconds["CTranslate2"] += seconds
        for task in tasks:
            check.different[task.name] += [one.utt_id for one, two in zip(original, other) if not same(task, one, two)]
        check.num_utterances += len(batch)
        check.audio_seconds += int(batch.samples_B.sum()) / 16000
    check.completed = converted.completed
    check.utterances_per_second = {name: check.num_utterances / seconds for name, seconds in decoding_seconds.items()}
    return check


def decode(recognizer: Recognizer, batch: Batch, config: DecodeConfig) -> tuple[list[Prediction], float]:
    """Predictions, and the seconds to make them, features included."""
    start = time.perf_counter()
    (predictions,) = recognizer.predict([batch], config)
    return predictions, time.perf_counter() - start


def same(task: Task, one: Prediction, two: Prediction) -> bool:
    """Equal values; of a scale, equal to within SCALE_TOLERANCE."""
    first, second = one.values[task.name], two.values[task.name]
    if task.kind != "scale":
        return first == second
    span = float(task.labels[-1]) - float(task.labels[0])
    return abs(float(first) - float(second)) <= SCALE_TOLERANCE * span


def require_equal(check: Check, tasks: Sequence[Task], allowed: int) -> None:
    """UserError where more utterances than `allowed` have another label, or another text where there are no labels."""
    different = check.different_answers(tasks)
    if len(different) > allowed:
        raise UserError(
            f"CTranslate2 gives other answers than the model for {len(different)} of {check.num_utterances} utterances "
            f"({first_few(different)}), allowed are {allowed}; {advice(check.quantization)}"
        )


def advice(quantization: str) -> str:
    """What to do about different answers; stage 7 has other names for the options of export_ctranslate2."""
    allow = "allow as many as you accept with --allow_different (of run.sh: --ctranslate2_allow_different)"
    if quantization == "float32":
        return f"in float32, rounding decides between two answers, or the lack of a grammar; {allow}"
    return f"convert with --quantization float32 (of run.sh: --ctranslate2 float32), or {allow}"
