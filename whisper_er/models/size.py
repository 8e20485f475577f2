"""How many parameters a model has, by part, without its weights (paper, Table 6)."""

from dataclasses import dataclass, replace
from typing import Any

from transformers import AutoConfig, WhisperConfig

from whisper_er.base.hub import load_pretrained
from whisper_er.config import LossConfig, ModelConfig, TrainConfig
from whisper_er.models.base import Model, Predictor
from whisper_er.models.build import empty_model
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer

# Of the published Whisper models, from their config.json on the hub, so that neither weights nor the hub are needed:
# width, encoder layers, decoder layers, heads, entries of the vocabulary, mel bins
PUBLISHED = {
    "openai/whisper-tiny": (384, 4, 4, 6, 51865, 80),
    "openai/whisper-tiny.en": (384, 4, 4, 6, 51864, 80),
    "openai/whisper-base": (512, 6, 6, 8, 51865, 80),
    "openai/whisper-base.en": (512, 6, 6, 8, 51864, 80),
    "openai/whisper-small": (768, 12, 12, 12, 51865, 80),
    "openai/whisper-small.en": (768, 12, 12, 12, 51864, 80),
    "openai/whisper-medium": (1024, 24, 24, 16, 51865, 80),
    "openai/whisper-medium.en": (1024, 24, 24, 16, 51864, 80),
    "openai/whisper-large": (1280, 32, 32, 20, 51865, 80),
    "openai/whisper-large-v2": (1280, 32, 32, 20, 51865, 80),
    "openai/whisper-large-v3": (1280, 32, 32, 20, 51866, 128),
    "openai/whisper-large-v3-turbo": (1280, 32, 4, 20, 51866, 128),
}


@dataclass(frozen=True)
class PartSize:
    """Parameters of one part of a model; frozen ones are Whisper's encoder positions, the SSL convolutions, and what
    the configuration freezes."""

    trained: int
    frozen: int


class Vocabulary:
    """A base vocabulary of which only the size is known."""

    multilingual = True

    def __init__(self, size: int) -> None:
        self.prefix, self.end, self.num_text, self.size = [1], 0, 0, size

    def find(self, token: str) -> int | None:
        return None


def backbone_sizes(config: ModelConfig) -> dict[str, Any]:
    """transformers' configuration of the pretrained model, or of the one from scratch; no weights are read."""
    name = config.encoder_model or config.whisper_model
    sizes = published_sizes(name) or (None if name else config.whisper_sizes)
    if sizes is not None:
        return WhisperConfig(**sizes).to_dict()
    return load_pretrained(AutoConfig, name, "encoder_model" if config.encoder_model else "whisper_model").to_dict()


def published_sizes(whisper_model: str) -> dict[str, Any] | None:
    """The sizes of a published model, as transformers' WhisperConfig names them; None for another model."""
    if whisper_model not in PUBLISHED:
        return None
    width, encoder_layers, decoder_layers, heads, vocab_size, num_mel_bins = PUBLISHED[whisper_model]
    return {
        "d_model": width,
        "encoder_layers": encoder_layers,
        "decoder_layers": decoder_layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "decoder_ffn_dim": 4 * width,
        "vocab_size": vocab_size,
        "num_mel_bins": num_mel_bins,
    }


def sized_model(config: TrainConfig, backbone_config: dict, tasks: list[Task]) -> Model:
    """The model of a configuration, without weights. backbone_config: as transformers' config.json has it."""
    vocabulary = Vocabulary(backbone_config.get("vocab_size", 0))
    tokenizer = Tokenizer(vocabulary, tasks, "whisper", "en")
    extended = backbone_config | ({"vocab_size": tokenizer.size} if config.model.kind == "seq2seq" else {})
    return empty_model(replace(config, loss=LossConfig()), extended, tokenizer)  # which may name other tasks


def count_parameters(model: Predictor) -> dict[str, PartSize]:
    """Part -> its parameters; a parameter that two parts share counts once."""
    parts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = "token embedding" if "embed_tokens" in name else name.split(".")[0].replace("audio_", "")
        counts = parts.setdefault(part, [0, 0])
        counts[0 if parameter.requires_grad else 1] += parameter.numel()
    return {part: PartSize(*counts) for part, counts in parts.items()}


def trained_parameters(model: Predictor) -> int:
    return sum(size.trained for size in count_parameters(model).values())


def rounded(parameters: int) -> str:
    """As papers write it: 133K, 20M, 635M, 1.54B."""
    if parameters < 999.5e3:
        return f"{parameters / 1e3:.0f}K"
    return f"{parameters / 1e9:.2f}B" if parameters >= 999.5e6 else f"{parameters / 1e6:.0f}M"
