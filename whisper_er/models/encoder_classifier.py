"""The conventional method: encoder, mean over the utterance's own frames, one linear layer per task (paper, eq. 1-3).

Axes: B utterances, T encoder frames, D width, K tasks, C labels.
"""

import sys

import torch
import torch.nn.functional as F

from whisper_er.base.errors import UserError
from whisper_er.batch import IGNORE, Batch
from whisper_er.config import DecodeConfig
from whisper_er.models.base import Encoded, Model, Output, Prediction
from whisper_er.models.encoder import AudioEncoder
from whisper_er.models.features import inside
from whisper_er.models.ssl_encoder import SslEncoder
from whisper_er.task import Task


class EncoderClassifier(Model):
    """Cross-entropy per task, summed over tasks; a scale is classified into its bins."""

    max_target = sys.maxsize  # no decoder reads the target

    def __init__(self, audio_encoder: AudioEncoder | SslEncoder, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        for task in tasks:
            if task.kind == "text":
                raise UserError(f"model.kind: encoder_classifier has no decoder to do the task '{task.name}'")
        self.audio_encoder, self.tasks, self.backbone_config = audio_encoder, tasks, audio_encoder.config
        width = self.backbone_config.hidden_size
        self.heads = torch.nn.ModuleDict(
            {f"head_{task.name}": torch.nn.Linear(width, len(task.labels)) for task in tasks}
        )

    def logits(self, batch: Batch, encoded: Encoded | None = None) -> list[torch.Tensor]:
        """One (B, C) per task."""
        states_BTD, _ = encoded or self.encode(batch)
        real_B = self.audio_encoder.own_frames(batch.samples_B).to(states_BTD.device, non_blocking=True)
        mask_BT = inside(real_B, states_BTD.shape[1], states_BTD.device)
        pooled_BD = (states_BTD.float() * mask_BT[..., None]).sum(1) / real_B[:, None]
        return [head(pooled_BD).float() for head in self.heads.values()]

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        nll_K = torch.stack(
            [
                F.cross_entropy(logits_BC, label_B, ignore_index=IGNORE, reduction="sum")
                for logits_BC, label_B in zip(self.logits(batch, encoded), batch.label_BK.T)
            ]
        )
        return Output(nll_K.sum(), nll_K.detach(), (batch.label_BK != IGNORE).sum(0))

    def answer(self, batch: Batch, config: DecodeConfig, encoded: Encoded | None = None) -> list[torch.Tensor]:
        """The posterior (B, C) of each task."""
        return [logits_BC.softmax(-1) for logits_BC in self.logits(batch, encoded)]

    def read(self, utt_ids: list[str], answers: list[torch.Tensor], config: DecodeConfig) -> list[Prediction]:
        probabilities = [posterior_BC.tolist() for posterior_BC in answers]
        predictions = []
        for b, utt_id in enumerate(utt_ids):
            posteriors = {task.name: rows[b] for task, rows in zip(self.tasks, probabilities)}
            values = {
                task.name: task.value(posteriors[task.name], argmax(posteriors[task.name])) for task in self.tasks
            }
            predictions.append(Prediction(utt_id, values, posteriors))
        return predictions


def argmax(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
