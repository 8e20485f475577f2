"""The conventional method: encoder, pooling over time, one linear layer per task (paper, eq. 1-3).

Axes: B utterances, T encoder frames, D width, K tasks, C labels.
"""

import torch

from whisper_er.base.errors import UserError
from whisper_er.batch import IGNORE, Batch
from whisper_er.config import DecodeConfig
from whisper_er.models.base import Encoded, Model, Output
from whisper_er.models.encoder import AudioEncoder
from whisper_er.models.features import inside
from whisper_er.models.losses import CategoryLoss, classifier_loss
from whisper_er.models.pooling import Pooling
from whisper_er.models.ssl_encoder import SslEncoder
from whisper_er.task import Prediction
from whisper_er.text.tokenizer import Tokenizer


class EncoderClassifier(Model):
    """A loss per task, summed over tasks; a scale is classified into its bins, by cross-entropy."""

    def __init__(
        self,
        audio_encoder: AudioEncoder | SslEncoder,
        tokenizer: Tokenizer,
        pooling: Pooling,
        category_loss: CategoryLoss,
        weight_K: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        for task in tokenizer.tasks:
            if task.kind == "text":
                raise UserError(f"model.kind: encoder_classifier has no decoder to do the task '{task.name}'")
        self.audio_encoder, self.tokenizer, self.backbone_config = audio_encoder, tokenizer, audio_encoder.config
        self.pooling, self.category_loss = pooling, category_loss
        self.register_buffer("task_weight_K", weight_K, persistent=False)
        self.max_target = len(tokenizer.prefix) + len(tokenizer.tasks)  # no decoder reads it: a label of each task
        self.heads = torch.nn.ModuleDict(
            {f"head_{task.name}": torch.nn.Linear(pooling.output_width, len(task.labels)) for task in tokenizer.tasks}
        )

    def logits(self, batch: Batch, encoded: Encoded | None = None) -> list[torch.Tensor]:
        """float32 (B, C) of each task."""
        states_BTD, read_BT = encoded or self.encode(batch)
        real_BT = inside(self.audio_encoder.real_frames(batch.samples_B), states_BTD.shape[1], states_BTD.device)
        if read_BT is None:
            read_BT = torch.ones_like(real_BT)
        pooled_BO = self.pooling(states_BTD, real_BT, read_BT)
        return [head(pooled_BO).float() for head in self.heads.values()]

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        logits = self.logits(batch, encoded)
        tasks = self.tokenizer.tasks
        loss_K, nll_K = classifier_loss(logits, batch.label_BK, tasks, self.category_loss, self.task_weight_K)
        return Output(loss_K.sum(), nll_K.detach(), (batch.label_BK != IGNORE).sum(0))

    def answer(self, batch: Batch, config: DecodeConfig, encoded: Encoded | None = None) -> list[torch.Tensor]:
        """The posterior (B, C) of each task."""
        if config.lang:
            raise UserError(f"lang={config.lang}: the conventional method has no decoder prefix; leave lang empty")
        if config.teacher_forced:
            raise UserError("teacher_forced: encoder_classifier answers each task alone; leave teacher_forced at false")
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


def argmax(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
