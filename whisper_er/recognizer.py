"""Audio in, result out: what validation, decoding and everything after them call."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from whisper_er import config as configuration
from whisper_er.batch import Batch
from whisper_er.checkpoint import load_weights
from whisper_er.config import DecodeConfig, TrainConfig
from whisper_er.device import autocast
from whisper_er.errors import UserError
from whisper_er.models.base import Model, Prediction
from whisper_er.models.build import BACKBONE, read_empty_model
from whisper_er.tokenizer import Tokenizer, load_tokenizer


class Recognizer:
    """A trained model with its token list. Open one with `Recognizer.open`."""

    def __init__(self, model: Model, tokenizer: Tokenizer, config: TrainConfig, device: torch.device) -> None:
        self.model, self.tokenizer, self.config, self.device = model.to(device), tokenizer, config, device

    @staticmethod
    def open(exp_dir: Path, weights: str = "ave.safetensors", device: torch.device | str = "cpu") -> "Recognizer":
        """Read an experiment directory; it needs neither the hub nor the model that training started from."""
        exp_dir = Path(exp_dir)
        for name in ("config.yaml", BACKBONE, weights):
            if not (exp_dir / name).is_file():
                raise UserError(f"{exp_dir / name}: no such file; run stages 3 and 4 for this experiment first")
        config = configuration.load(TrainConfig, exp_dir / "config.yaml")
        tokenizer = load_tokenizer(exp_dir / "token_list")
        model = read_empty_model(config, exp_dir, tokenizer)
        try:
            model.load_state_dict(load_weights(exp_dir / weights), assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{exp_dir / weights}: does not fit {exp_dir}/config.yaml: {reason}") from None
        return Recognizer(model.eval(), tokenizer, config, torch.device(device))

    def __call__(self, batches: Iterable[Batch], config: DecodeConfig) -> Iterator[list[Prediction]]:
        """Predictions of each batch, in batch order."""
        if config.dtype == "float32":
            self.model.pack()
        for batch in batches:
            with autocast(self.device, config.dtype):
                predictions = self.model.predict(batch.to(self.device), config)
            yield predictions
