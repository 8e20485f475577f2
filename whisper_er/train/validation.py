"""Loss and accuracy of a model on the validation set."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from whisper_er.base import distributed
from whisper_er.base.device import autocast, reading_processes
from whisper_er.base.errors import UserError, first_few
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.data.dataset import Utterances, by_length, load
from whisper_er.models.base import Model
from whisper_er.score import metrics
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.train.parallel import gathered


@dataclass(frozen=True)
class Validation:
    """loss: nats per utterance; accuracy: per task, higher is better (see `accuracy`)."""

    loss: float
    accuracy: dict[str, float]


@torch.no_grad()
def validate(
    model: Model,
    utterances: Utterances,
    tokenizer: Tokenizer,
    config: TrainConfig,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Decode greedily under the grammar, so that validation sees what the test sees, and take the loss beside it.

    Every process takes its part of the batches, and returns the result over all of them; None if `stop` says so to one.
    """
    plan = by_length(utterances.num_samples_N, config.valid_batch_size)[distributed.rank() :: distributed.world_size()]
    losses, found, stopped = [], {}, False
    model.eval()
    processes = reading_processes(config.num_workers, device)
    with gathered(model):
        for batch in load(utterances, plan, tokenizer, model.max_target, processes, device):
            if stopped := stop():
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
                predictions = model.predict(batch, DecodeConfig(beam_size=1), encoded)
                found |= {item.utt_id: item.values for item in predictions}
    model.train()
    loss = float(torch.stack(losses).double().sum()) if losses else 0.0
    parts = distributed.gather({"loss": loss, "found": found, "stopped": stopped})
    if any(part["stopped"] for part in parts):
        return None
    found = {utt_id: values for part in parts for utt_id, values in part["found"].items()}
    scores = {
        task.name: accuracy(task, [(utt.values[task.name], found[utt.utt_id][task.name]) for utt in utterances])
        for task in tokenizer.tasks
    }
    return Validation(sum(part["loss"] for part in parts) / len(utterances), scores)


def accuracy(task: Task, pairs: list[tuple[str, str]]) -> float:
    """WA of a category, CCC of a scale, 1 - WER of a text (as written, not normalised); labelled utterances only."""
    pairs = [(ref, hyp) for ref, hyp in pairs if ref]
    refs, hyps = [ref for ref, _ in pairs], [hyp for _, hyp in pairs]
    if task.kind == "category":
        return metrics.score_categories(refs, hyps, task.labels).wa
    if task.kind == "scale":
        return metrics.score_scale([float(ref) for ref in refs], [float(hyp) for hyp in hyps]).ccc
    return 1.0 - metrics.count_word_errors(refs, hyps).wer
