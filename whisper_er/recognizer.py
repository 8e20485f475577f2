"""Audio in, result out: what validation, decoding and everything after them call."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from whisper_er.batch import Batch
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.device import autocast
from whisper_er.models.base import Model, Prediction
from whisper_er.pretrained import open_model
from whisper_er.tokenizer import Tokenizer


class Recognizer:
    """A trained model with its token list. Open one with `Recognizer.open`."""

    def __init__(self, model: Model, tokenizer: Tokenizer, config: TrainConfig, device: torch.device) -> None:
        self.model, self.tokenizer, self.config, self.device = model.to(device), tokenizer, config, device

    @staticmethod
    def open(exp_dir: Path, weights: str = "ave.safetensors", device: torch.device | str = "cpu") -> "Recognizer":
        """Read an experiment directory, or a model that stage 7 exported (weights: of an experiment)."""
        opened = open_model(exp_dir, weights)
        return Recognizer(opened.model, opened.tokenizer, opened.config, torch.device(device))

    def __call__(self, batches: Iterable[Batch], config: DecodeConfig) -> Iterator[list[Prediction]]:
        """Predictions of each batch, in batch order."""
        if config.dtype == "float32":
            self.model.pack()
        for batch in batches:
            with autocast(self.device, config.dtype):
                predictions = self.model.predict(batch.to(self.device), config)
            yield predictions
