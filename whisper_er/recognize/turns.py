"""The utterances of a data directory -> predictions. Of a model that reads the turns before an utterance, dialogues are
decoded turn by turn, since each is read with the hypotheses of the turns before it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from whisper_er.base.errors import UserError
from whisper_er.config import DecodeConfig
from whisper_er.data.batches import load
from whisper_er.data.utterances import Utterances
from whisper_er.recognize.recognizer import Recognizer
from whisper_er.task import Prediction


def reads_references(recognizer: Recognizer, config: DecodeConfig) -> bool:
    """Whether decoding needs the labels of the data directory. UserError for settings that the model's context rules
    out."""
    if not recognizer.config.context.turns:
        if config.context_from != "hyp":
            raise UserError(f"context_from={config.context_from}: the model was trained without context.turns; set hyp")
    elif config.teacher_forced and config.context_from != "ref":
        raise UserError("teacher_forced reads the references, of the turns before as well; set context_from=ref")
    return config.teacher_forced or config.context_from == "ref"


def predict_all(
    recognizer: Recognizer, utterances: Utterances, config: DecodeConfig, num_workers: int
) -> Iterator[list[Prediction]]:
    """Predictions batch by batch: of all utterances, or, where they are read with hypotheses, of the first turns of all
    dialogues, then of the second ones, ... num_workers: processes that read audio."""
    rounds = [np.arange(len(utterances))]
    if utterances.dialogues and config.context_from == "hyp":
        rounds = utterances.dialogues.rounds()
        hypotheses = {task.name: [""] * len(utterances) for task in recognizer.tokenizer.tasks}
        utterances = replace(utterances, values=hypotheses)
    for index_N in rounds:
        batches = recognizer.plan(utterances.num_samples_N[index_N], config)
        plan = [index_N[batch].tolist() for batch in batches]
        device, longest = recognizer.device, recognizer.model.max_target
        loaded = load(utterances, plan, recognizer.tokenizer, longest, num_workers, device)
        for indices, predictions in zip(plan, recognizer.predict(loaded, config)):
            yield predictions
            if len(rounds) > 1:
                for index, prediction in zip(indices, predictions):
                    for task, value in prediction.values.items():
                        hypotheses[task][index] = value
