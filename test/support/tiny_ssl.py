"""wav2vec 2.0, HuBERT and WavLM so small that a test takes milliseconds; random weights."""

from collections.abc import Sequence

import torch
from tiny_whisper import EMOTION
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.vocabulary import NoText

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "hidden_dropout": 0.1, "initializer_range": 0.3,
}  # fmt: skip
FAMILIES = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}
VARIANTS = {
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
SECONDS = [0.3, 1.0, 0.02, 0.61]  # 0.02 s: 320 samples, less than the 400 of one frame


def write_model(directory, family: str, variant: str, do_normalize: bool = True):
    kind, model_class = FAMILIES[family]
    torch.manual_seed(0)
    model = model_class(kind(**SIZES, **VARIANTS[variant])).eval()
    model.save_pretrained(directory)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(directory)
    return model


def classifier(directory, seed: int = 0, freeze: Sequence[str] = (), **options):
    torch.manual_seed(seed)
    model = ModelConfig(kind="encoder_classifier", encoder_model=str(directory), **options)
    config = TrainConfig(model=model, freeze=[*freeze])
    return build_model(config, Tokenizer(NoText(), [EMOTION], "none", "en")).eval(), config
