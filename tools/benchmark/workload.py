"""What the benchmarks have in common: utterances as long as IEMOCAP's, models of true size, timing, options.

Axes: B utterances, S samples, L tokens.
"""

import argparse
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_er.batch import IGNORE, Batch
from whisper_er.config import SAMPLE_RATE, ModelConfig, TrainConfig
from whisper_er.data.collate import stack
from whisper_er.data.plan import bucketed, by_seconds
from whisper_er.models.build import assemble
from whisper_er.models.seq2seq import WhisperER
from whisper_er.models.size import published_sizes
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import Suppressed

# Seconds of IEMOCAP's 5531 utterances: median 3.58, mean 4.55, p90 8.7, p99 15.6. A lognormal with the first two has
# p90 8.7 and p99 17.9.
MEDIAN, MEAN, SHORTEST, LONGEST = 3.58, 4.55, 0.585, 30.0
EPOCH = 3400  # utterances that the timed batches are drawn from: three sessions of IEMOCAP
TOKENS_PER_SECOND = 3.5  # of English text in Whisper's vocabulary
TASKS = [
    Task("asr", "text"),
    Task("gender", "category", ("female", "male")),
    Task("emotion", "category", ("angry", "happy", "neutral", "sad")),
]


class Vocabulary:
    """Whisper's vocabulary as far as its ids go: text first, then <|endoftext|> and the other special tokens."""

    multilingual = True
    suppressed = Suppressed((), ())

    def __init__(self, size: int) -> None:
        self.end = self.num_text = 50257
        self.prefix, self.size = [50258, 50259, size - 1506, size - 1502], size

    def find(self, token: str) -> int | None:
        return None

    def encode(self, text: str) -> list[int]:
        return list(map(int, text.split()))

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


def options(description: str, utterances: int | list[int]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        default="base",
        help="tiny, base, small, medium, large-v3 (random weights of that "
        "size), or a directory that transformers reads (%(default)s)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16: products, by autocast; weights stay float32 (%(default)s)",
    )
    several = {"nargs": "+"} if isinstance(utterances, list) else {}
    parser.add_argument("--utterances", type=int, default=utterances, help="how many (%(default)s)", **several)
    parser.add_argument("--batch_size", type=int, default=16, help="%(default)s")
    parser.add_argument("--pad", default="none", help="our pad rule: none, +1, 30s ... (%(default)s)")
    return parser


def draw_seconds() -> np.ndarray:
    """The lengths of an epoch."""
    sigma = math.sqrt(2 * math.log(MEAN / MEDIAN))
    return np.random.default_rng(0).lognormal(math.log(MEDIAN), sigma, EPOCH).clip(SHORTEST, LONGEST)


def hf_config(model: str) -> WhisperConfig:
    if Path(model).is_dir():
        return WhisperConfig.from_pretrained(model)
    sizes = published_sizes(f"openai/whisper-{model}")
    if sizes is None:
        raise SystemExit(f"error: --model {model} is neither a size of Whisper nor a directory")
    return WhisperConfig(**sizes, decoder_start_token_id=50258)


def hf_whisper(model: str, device: str = "cpu") -> WhisperForConditionalGeneration:
    """transformers' model in float32: from a directory, or of the true size, with weights drawn on the device."""
    torch.manual_seed(0)
    if Path(model).is_dir():
        return WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32).to(device)
    with torch.device(device):
        return WhisperForConditionalGeneration(hf_config(model))


def our_whisper(whisper: WhisperForConditionalGeneration, pad: str, **train_options) -> WhisperER:
    """Whisper-ER around the same weights, on their device; the rows of the task tokens are drawn."""
    tokenizer = Tokenizer(Vocabulary(whisper.config.vocab_size), TASKS, "whisper", "en")
    config = TrainConfig(model=ModelConfig(pad=pad), **train_options)
    with whisper.device:
        whisper.model.resize_token_embeddings(tokenizer.size, mean_resizing=False)
        return assemble(config, whisper.model, tokenizer)


def batches(
    tokenizer: Tokenizer, batch_size: int, utterances: int, length: float = 0, batch_seconds: float = 0
) -> Iterator[Batch]:
    """Batches of an epoch, as bucketed by length: noise, and targets of a length that goes with it.

    As many as `utterances` fill, evenly spaced from the shortest to the longest, so that few have the mean of all.
    length: seconds of every utterance; 0: drawn. batch_seconds: `utterances` of them, as decoding on a GPU has them.
    """
    seconds = np.full(batch_size, length) if length else draw_seconds()
    samples = (seconds * SAMPLE_RATE).round().astype(int)
    random = np.random.default_rng(1)
    if batch_seconds:
        plan = by_seconds(samples[:utterances], batch_seconds)
    else:
        every = sorted(bucketed(samples, batch_size, seed=0), key=lambda indices: samples[indices].max())
        wanted = min(len(every), max(1, utterances // batch_size))
        plan = [every[round((index + 0.5) * len(every) / wanted - 0.5)] for index in range(wanted)]
    for indices in plan:
        waves = [random.standard_normal(samples[i], dtype=np.float32) * 0.1 for i in indices]
        texts = [random.integers(0, 50000, max(1, round(seconds[i] * TOKENS_PER_SECOND))).tolist() for i in indices]
        gender, emotion, end = tokenizer.task_ids[1], tokenizer.task_ids[2], tokenizer.end
        ids = [[*text, gender[0], emotion[0], end] for text in texts]
        given = len(tokenizer.prefix) - 1
        yield Batch(
            utt_ids=[str(i) for i in indices],
            wave_BS=stack(waves, 0, np.float32),
            samples_B=torch.tensor([len(wave) for wave in waves]),
            input_BL=stack([[*tokenizer.prefix, *own[:-1]] for own in ids], end, np.int64),
            target_BL=stack([[*[IGNORE] * given, *own] for own in ids], IGNORE, np.int64),
            task_BL=stack([[*[0] * given, *[0] * len(text), 1, 2, 2] for text in texts], 0, np.int64),
            label_BK=torch.tensor([[IGNORE, 0, 0]] * len(indices)),
        )


def seconds_of(call: Callable[[], object], device: str) -> float:
    """Wall-clock time of one call, until the device has done its work."""
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    """Wait until the device has done its work."""
    if device != "cpu":
        torch.cuda.synchronize()


def machine(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name()
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{model}, {torch.get_num_threads()} threads"


def report(facts: dict, **tables: list[list]) -> None:
    """Print tables, the first row of each its head, and last one line of JSON."""
    for rows in tables.values():
        cells = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells)]
        for row in cells:
            print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:])), sep="  ")
        print()
    named = {name: [dict(zip(head, row)) for row in rows] for name, (head, *rows) in tables.items()}
    print(json.dumps(facts | {"torch": torch.__version__} | named))
