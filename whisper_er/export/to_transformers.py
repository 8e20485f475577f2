"""Whisper-ER -> transformers' WhisperForConditionalGeneration, with a generation config that loses nothing."""

import torch
from transformers import GenerationConfig, WhisperForConditionalGeneration

from whisper_er.models.seq2seq import WhisperER
from whisper_er.text.tokenizer import Tokenizer


def to_transformers(model: WhisperER, num_beams: int = 1) -> WhisperForConditionalGeneration:
    """The same parameters under transformers' names, for saving and reading; its decoder layers stay DecoderLayers."""
    with torch.device("meta"):
        whisper = WhisperForConditionalGeneration(model.backbone_config)
    whisper.model.encoder, whisper.model.decoder = model.audio_encoder.encoder, model.decoder
    whisper.tie_weights()
    whisper.config.suppress_tokens = whisper.config.begin_suppress_tokens = None
    whisper.generation_config = generation_config(model.tokenizer, model.max_target, num_beams)
    return whisper


def generation_config(tokenizer: Tokenizer, max_length: int, num_beams: int) -> GenerationConfig:
    """The generation config with which plain `generate` returns whole targets.

    Whisper's generate cuts its output at timestamps, and takes every id above no_timestamps_token_id for one, so also
    the tasks' tokens: without that entry it knows no timestamps. Without lang_to_id, language and task it takes the
    prefix from forced_decoder_ids. Nothing is suppressed.
    """
    forced = forced_ids(tokenizer.prefix)
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.end)
    return GenerationConfig(
        decoder_start_token_id=tokenizer.prefix[0],
        **special,
        **({"forced_decoder_ids": forced} if forced else {}),
        return_timestamps=False,
        max_length=max_length,
        num_beams=num_beams,
    )


def forced_ids(prefix: list[int]) -> list[list[int]]:
    """The prefix after its first token, as forced_decoder_ids has it: [position, id] of each."""
    return [[position, index] for position, index in enumerate(prefix[1:], start=1)]
