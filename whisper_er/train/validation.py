"""Loss and accuracy of a model on the validation set."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from whisper_er.base.errors import UserError, first_few
from whisper_er.config import MAX_SAMPLES, DecodeConfig, TrainConfig
from whisper_er.data.batches import load
from whisper_er.data.plan import by_length
from whisper_er.data.utterances import Utterances
from whisper_er.models.base import Model
from whisper_er.models.encoder import real_frames
from whisper_er.process import distributed
from whisper_er.process.ahead import GivenUp
from whisper_er.process.device import autocast, reading_processes
from whisper_er.process.stop import never
from whisper_er.score import metrics
from whisper_er.step.parallel import gathered
from whisper_er.task import Task
from whisper_er.text.conventions import units
from whisper_er.text.tokenizer import Tokenizer

# Tokens of text per encoder frame, as DecodeConfig.maxlenratio, unless the references need more. A model that still
# loops writes as many as it may: with decoding's bound early validations would take up to four times as long.
MAXLENRATIO = 0.5


@dataclass(frozen=True)
class Validation:
    """loss: what training minimises, per utterance (nats with the default `loss`); accuracy: per task, higher is better
    (see `add_scores`); ua: per category; collapses: a sentence for each category whose answers are all the same."""

    loss: float
    accuracy: dict[str, float]
    ua: dict[str, float] = field(default_factory=dict)
    collapses: list[str] = field(default_factory=list)

    def entry(self, step: int, task: str) -> dict[str, Any]:
        """Of the selecting task, as best.json lists it (selection.py)."""
        accuracy, ua = self.accuracy[task], self.ua.get(task, math.nan)
        return {
            "step": step,
            "accuracy": accuracy if math.isfinite(accuracy) else -math.inf,
            "ua": ua if math.isfinite(ua) else None,
            "loss": self.loss,
        }


@torch.no_grad()
def validate(
    model: Model,
    utterances: Utterances,
    tokenizer: Tokenizer,
    config: TrainConfig,
    device: torch.device,
    stop: Callable[[], bool] = never,
) -> Validation | None:
    """The loss, and the accuracy of the answers: by greedy decoding under the grammar, which the test uses as well, or
    given the references (valid.predict).

    Every process takes its part of the batches and returns the result over all; None if `stop()` is True on any.
    """
    plan = by_length(utterances.num_samples_N, config.valid_batch_size)[distributed.rank() :: distributed.world_size()]
    losses, hypotheses, stopped = [], {}, True
    graphs = "off" if config.parallel == "fsdp" else config.graphs  # its weights lie elsewhere in each validation
    greedy = DecodeConfig(beam_size=1, maxlenratio=longest_text(utterances, tokenizer.tasks), graphs=graphs)
    model.eval()
    processes = reading_processes(config.num_workers, device)
    with suppress(GivenUp), gathered(model):
        for batch in load(utterances, plan, tokenizer, model.max_target, processes, device, stop=stop):
            if stop():
                break
            with autocast(device, config.dtype):
                batch = batch.to(device)
                encoded = model.encode(batch)
                losses.append(model(batch, encoded).loss)
                if not losses[-1].isfinite():  # nothing could be decoded either
                    raise UserError(
                        f"validation: the loss is not finite on {first_few(batch.utt_ids)}: the weights "
                        "are out of bounds; lower optim.lr or set optim.grad_clip"
                    )
                if config.valid.predict == "teacher_forced":
                    predictions = model.given(batch, encoded)
                else:
                    predictions = model.predict(batch, greedy, encoded)
                hypotheses |= {prediction.utt_id: prediction.values for prediction in predictions}
        else:
            stopped = False
    model.train()
    loss = float(torch.stack(losses).double().sum()) if losses else 0.0
    parts = distributed.gather({"loss": loss, "hypotheses": hypotheses, "stopped": stopped})
    if any(part["stopped"] for part in parts):
        return None
    hypotheses = {utt_id: values for part in parts for utt_id, values in part["hypotheses"].items()}
    result = Validation(sum(part["loss"] for part in parts) / len(utterances), {})
    for task in tokenizer.tasks:
        scored = [utt for utt in utterances if utt.values[task.name]]
        pairs = [(utt.values[task.name], hypotheses[utt.utt_id][task.name]) for utt in scored]
        languages = [utt.language or tokenizer.language for utt in scored]
        add_scores(result, task, pairs, languages)
    return result


def longest_text(utterances: Utterances, tasks: Sequence[Task]) -> float:
    """Tokens per encoder frame that a text may have: MAXLENRATIO, or what the references may need, within decoding's.

    A text has at most as many tokens as bytes and one before them, so nothing has to be tokenized.
    """
    bytes_N = sum(np.diff(utterances.values[task.name].start_N1) + 1 for task in tasks if task.kind == "text")
    frames_N = real_frames(torch.from_numpy(np.minimum(utterances.num_samples_N, MAX_SAMPLES)))
    needed = float(np.max(bytes_N / frames_N.numpy(), initial=0))
    return min(max(MAXLENRATIO, needed), DecodeConfig.maxlenratio)


def add_scores(result: Validation, task: Task, labelled: list[tuple[str, str]], languages: list[str]) -> None:
    """The scores of a task. Its accuracy is the WA of a category, the CCC of a scale, 1 - WER of a text (as written,
    not normalised; characters are the words of a language without spaces). labelled: reference and answer of each
    utterance that has a reference; languages: of each text."""
    refs, hyps = [ref for ref, _ in labelled], [hyp for _, hyp in labelled]
    if task.kind == "category":
        score = metrics.score_categories(refs, hyps, task.labels)
        result.accuracy[task.name], result.ua[task.name] = score.wa, score.ua
        if collapse := metrics.collapse(task.name, score.confusion, task.labels):
            result.collapses.append(collapse)
    elif task.kind == "scale":
        score = metrics.score_scale([float(ref) for ref in refs], [float(hyp) for hyp in hyps])
        result.accuracy[task.name] = score.ccc
    else:
        refs, hyps = (
            [" ".join(units(text.split(), language)) for text, language in zip(side, languages, strict=True)]
            for side in (refs, hyps)
        )
        result.accuracy[task.name] = 1.0 - metrics.count_word_errors(refs, hyps).wer
