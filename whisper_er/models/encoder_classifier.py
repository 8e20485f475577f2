"""The conventional method: encoder, mean over the utterance's own frames, one linear layer per task (paper, eq. 1-3).

Axes: B utterances, T encoder frames, D width, K tasks, C labels.
"""

import torch
import torch.nn.functional as F
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from whisper_er.batch import IGNORE, Batch
from whisper_er.config import DecodeConfig, ModelConfig
from whisper_er.errors import UserError
from whisper_er.logmel import PadRule
from whisper_er.models.base import Model, Output, Prediction
from whisper_er.models.encoder import AudioEncoder, real_frames
from whisper_er.task import Task


class EncoderClassifier(Model):
    """Cross-entropy per task, summed over tasks; a scale is classified into its bins."""

    def __init__(self, encoder: WhisperEncoder, tasks: tuple[Task, ...], config: ModelConfig) -> None:
        super().__init__()
        for task in tasks:
            if task.kind == "text":
                raise UserError(f"model.kind: encoder_classifier has no decoder to do the task '{task.name}'")
        self.audio_encoder = AudioEncoder(encoder, PadRule.parse(config.pad), config.specaug)
        self.tasks, self.whisper_config = tasks, encoder.config
        self.heads = torch.nn.ModuleDict(
            {f"head_{task.name}": torch.nn.Linear(encoder.config.d_model, len(task.labels)) for task in tasks}
        )

    def logits(self, batch: Batch) -> list[torch.Tensor]:
        """One (B, C) per task."""
        states_BTD, _ = self.audio_encoder(batch.wave_BS, batch.samples_B)
        real_B1 = real_frames(batch.samples_B)[:, None]  # the silence of the pad rule is not pooled
        mask_BT = torch.arange(states_BTD.shape[1], device=states_BTD.device) < real_B1
        pooled_BD = (states_BTD.float() * mask_BT[..., None]).sum(1) / real_B1
        return [head(pooled_BD).float() for head in self.heads.values()]

    def forward(self, batch: Batch) -> Output:
        nll_K = torch.stack(
            [
                F.cross_entropy(logits_BC, label_B, ignore_index=IGNORE, reduction="sum")
                for logits_BC, label_B in zip(self.logits(batch), batch.label_BK.T)
            ]
        )
        return Output(nll_K.sum(), nll_K.detach(), (batch.label_BK != IGNORE).sum(0))

    @torch.no_grad()
    def predict(self, batch: Batch, config: DecodeConfig) -> list[Prediction]:
        probabilities = [logits_BC.softmax(-1).tolist() for logits_BC in self.logits(batch)]
        predictions = []
        for b, utt_id in enumerate(batch.utt_ids):
            posteriors = {task.name: rows[b] for task, rows in zip(self.tasks, probabilities)}
            values = {
                task.name: task.value(posteriors[task.name], argmax(posteriors[task.name])) for task in self.tasks
            }
            predictions.append(Prediction(utt_id, values, posteriors))
        return predictions


def argmax(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
