"""The conventional method: encoder, pooling over time, one linear layer per task (paper, eq. 1-3); and what probing of
frozen encoders adds: a weighted sum of the layers, or several side by side, and a hidden layer before the pooling.

Axes: B utterances, T encoder frames, D width, K tasks, C labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from whisper_er.base.errors import UserError
from whisper_er.batch import IGNORE, Batch
from whisper_er.config import DecodeConfig
from whisper_er.models.base import Encoded, Model, Output
from whisper_er.models.encoder import AudioEncoder
from whisper_er.models.features import inside
from whisper_er.models.losses import LabelLoss, classifier_loss
from whisper_er.models.pooling import Pooling
from whisper_er.models.ssl_encoder import SslEncoder
from whisper_er.task import Prediction
from whisper_er.text.tokenizer import Tokenizer


class WeightedLayers(torch.nn.Module):
    """The sum of the encoder's states, weighted by the softmax of learned scores that start equal (SUPERB).

    The states are the input of the first layer and the output of every layer, as they are; that of the last is taken
    after the final layer norm where one follows it (Whisper, and the large SSL models).
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.scores = torch.nn.Parameter(torch.zeros(num_layers + 1))

    def weights(self) -> torch.Tensor:
        """float32 (num_layers + 1,)."""
        return self.scores.softmax(0)

    def forward(self, states: list[torch.Tensor]) -> torch.Tensor:
        """states_BTD of the input and of every layer -> (B, T, D)."""
        return sum(weight * states_BTD for weight, states_BTD in zip(self.weights(), states, strict=True))


class EncoderClassifier(Model):
    """A loss per task, summed over tasks; a scale is classified into its bins.

    layer_sum: the sum that is pooled instead of the last layer; layer_numbers: the layers whose states stand side by
    side instead, 0 for the input of the first, 1 for its output; hidden: a linear layer that is applied to every frame,
    with a ReLU, before the pooling.
    """

    def __init__(
        self,
        audio_encoder: AudioEncoder | SslEncoder,
        tokenizer: Tokenizer,
        pooling: Pooling,
        label_loss: LabelLoss,
        layer_sum: WeightedLayers | None = None,
        hidden: torch.nn.Linear | None = None,
        layer_numbers: Sequence[int] = (),
    ) -> None:
        super().__init__()
        for task in tokenizer.tasks:
            if task.kind == "text":
                raise UserError(f"model.kind: encoder_classifier has no decoder to do the task '{task.name}'")
        self.audio_encoder, self.tokenizer, self.backbone_config = audio_encoder, tokenizer, audio_encoder.config
        self.pooling, self.label_loss = pooling, label_loss
        self.layer_sum, self.layer_numbers, self.head_hidden = layer_sum, layer_numbers, hidden
        self.max_target = len(tokenizer.prefix) + len(tokenizer.tasks)  # no decoder reads it: a label of each task
        self.heads = torch.nn.ModuleDict(
            {f"head_{task.name}": torch.nn.Linear(pooling.output_width, len(task.labels)) for task in tokenizer.tasks}
        )

    def encode(self, batch: Batch) -> Encoded:
        if self.layer_sum is None and not self.layer_numbers:
            return super().encode(batch)
        with seen_states(self.audio_encoder.encoder.layers) as states:
            last_BTD, mask_BT = super().encode(batch)
        states[-1] = last_BTD  # after the final layer norm
        if self.layer_sum is not None:
            return self.layer_sum(states), mask_BT
        return torch.cat([states[number] for number in self.layer_numbers], dim=-1), mask_BT

    def logits(self, batch: Batch, encoded: Encoded | None = None) -> list[torch.Tensor]:
        """float32 (B, C) of each task."""
        states_BTD, read_BT = encoded or self.encode(batch)
        real_BT = inside(self.audio_encoder.real_frames(batch.samples_B), states_BTD.shape[1], states_BTD.device)
        if read_BT is None:
            read_BT = torch.ones_like(real_BT)
        if self.head_hidden is not None:
            states_BTD = self.head_hidden(states_BTD).relu()
        pooled_BO = self.pooling(states_BTD, real_BT, read_BT)
        return [head(pooled_BO).float() for head in self.heads.values()]

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        logits = self.logits(batch, encoded)
        loss_K, nll_K = classifier_loss(logits, batch.label_BK, self.label_loss, batch.soft_BKC)
        return Output(loss_K.sum(), nll_K.detach(), (batch.label_BK != IGNORE).sum(0))

    def check(self, config: DecodeConfig) -> None:
        if config.lang:
            raise UserError(f"lang={config.lang}: the conventional method has no decoder prefix; leave lang empty")
        if config.teacher_forced:
            raise UserError("teacher_forced: encoder_classifier answers each task alone; leave teacher_forced at false")

    def answer(self, batch: Batch, config: DecodeConfig, encoded: Encoded | None = None) -> list[torch.Tensor]:
        """The posterior (B, C) of each task."""
        self.check(config)
        return [logits_BC.softmax(-1) for logits_BC in self.logits(batch, encoded)]

    def read(self, utt_ids: list[str], answers: list[torch.Tensor], config: DecodeConfig) -> list[Prediction]:
        probabilities = [posterior_BC.tolist() for posterior_BC in answers]
        predictions = []
        for b, utt_id in enumerate(utt_ids):
            posteriors = {task.name: rows[b] for task, rows in zip(self.tokenizer.tasks, probabilities)}
            values = {
                task.name: task.value(posteriors[task.name], argmax(posteriors[task.name]))
                for task in self.tokenizer.tasks
            }
            predictions.append(Prediction(utt_id, values, posteriors))
        return predictions

    def given(self, batch: Batch, encoded: Encoded | None = None) -> list[Prediction]:
        """Its answers as they are: no task sees another."""
        return self.predict(batch, DecodeConfig(), encoded)


@contextmanager
def seen_states(layers: torch.nn.ModuleList) -> Iterator[list[torch.Tensor]]:
    """While it is open, the input of the first layer and the output of each are appended to the list."""
    states: list[torch.Tensor] = []
    hooks = [layers[0].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))]
    for layer in layers:  # WavLM's give a tuple
        hooks.append(
            layer.register_forward_hook(lambda _, __, out: states.append(out if torch.is_tensor(out) else out[0]))
        )
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def argmax(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
