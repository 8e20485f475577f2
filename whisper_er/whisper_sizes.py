"""Sizes of the published Whisper models, so that what depends on sizes alone needs neither weights nor the hub.

Source: the config.json of each model on the hub.
"""

from typing import Any

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


def published_sizes(whisper_model: str) -> dict[str, Any] | None:
    """What transformers' WhisperConfig calls these sizes; None for another model."""
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
