"""Experiment directories of models that have learned a few sounds by heart, so that what they say is well-formed."""

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from tiny_whisper import SIZES, batch_of, tasks_of, tiny_model, write_utterances
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from whisper_er.base import settings
from whisper_er.base.weights import save_weights
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.data.utterances import Utterance
from whisper_er.models.build import BACKBONE
from whisper_er.models.features import PadRule
from whisper_er.models.seq2seq import WhisperER
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import TextTokens

SECONDS = [0.4, 0.7, 1.6]  # 80 frames of the encoder, as many as there are mel bins, are a case of their own
VALUES = [
    {"asr": "good", "gender": "female", "emotion": "happy"},
    {"asr": "good day", "gender": "male", "emotion": "angry"},
    {"asr": "sad day", "gender": "female", "emotion": "sad"},
]
ORDER = "asr gender emotion"


def sounds(directory: Path) -> list[Utterance]:
    directory.mkdir(parents=True)
    return write_utterances(directory, SECONDS, VALUES)


def tokenizer_of(tokens: tuple[str, TextTokens], order: str = ORDER) -> Tokenizer:
    return Tokenizer(tokens[1], tasks_of(order), tokens[0], "en")


@torch.enable_grad()  # a test may be without
def learn(tokenizer: Tokenizer, utterances: list[Utterance], steps: int = 100) -> WhisperER:
    """The decoder learns what to say to the states of an encoder that stays random."""
    model = tiny_model(tokenizer, sizes={"init_std": 0.05, "d_model": 32})
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=1e-2)
    batch = batch_of(utterances, tokenizer)
    with torch.no_grad():
        encoded = model.encode(batch)
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch, encoded).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 1.0)
        optimizer.step()
    return model


def write_experiment(directory: Path, model: WhisperER, pad: str = "none") -> Path:
    """What stages 2 to 4 leave, as far as a model is opened from it."""
    (directory / "token_list").mkdir(parents=True)
    model.tokenizer.save(directory / "token_list")
    (directory / BACKBONE).write_text(json.dumps(model.backbone_config.to_dict()))
    config = TrainConfig(model=ModelConfig(whisper_sizes=SIZES, pad=pad))
    (directory / "config.yaml").write_text(yaml.safe_dump(settings.to_plain(config)))
    save_weights(model.state_dict(), directory / "ave.safetensors")
    return directory


def features(wave: np.ndarray, pad: str) -> torch.Tensor:
    """(1, F, N): what transformers takes for 30 s, as far as the pad rule goes."""
    frames = int(PadRule.parse(pad).frames(torch.tensor([len(wave)])))
    return WhisperFeatureExtractor()(wave, sampling_rate=16000, return_tensors="pt").input_features[..., :frames]


def cut(whisper: WhisperForConditionalGeneration, frames: int) -> WhisperForConditionalGeneration:
    """transformers' encoder for so many mel frames."""
    whisper.config.max_source_positions = frames // 2
    positions = whisper.model.encoder.embed_positions.weight[: frames // 2]
    whisper.model.encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions)
    return whisper
