"""Configuration -> model: pretrained or from scratch, vocabulary extended."""

import torch
from transformers import WhisperConfig, WhisperModel
from transformers.utils import logging

from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.errors import UserError, first_few
from whisper_er.hub import load_pretrained
from whisper_er.models.base import Model
from whisper_er.models.encoder_classifier import EncoderClassifier
from whisper_er.models.seq2seq import WhisperER
from whisper_er.tokenizer import Tokenizer


def build_model(config: TrainConfig, tokenizer: Tokenizer) -> Model:
    """A model ready to be trained; fresh parameters are drawn from torch's global generator."""
    whisper = load_whisper(config.model) if config.model.whisper_model else fresh_whisper(config.model, tokenizer)
    if config.model.kind == "seq2seq":
        if config.model.decoder_init == "random":
            whisper.decoder = WhisperModel(whisper.config).decoder
        extend_vocabulary(whisper, tokenizer, config.model.new_token_init)
    return assemble(config, whisper, tokenizer)


def empty_model(config: TrainConfig, whisper_config: dict, tokenizer: Tokenizer) -> Model:
    """The same model around a saved WhisperConfig, to be filled from a checkpoint."""
    with torch.device("meta"):  # nothing is drawn that would be overwritten
        whisper = WhisperModel(WhisperConfig.from_dict(whisper_config))
    return assemble(config, whisper, tokenizer)


def assemble(config: TrainConfig, whisper: WhisperModel, tokenizer: Tokenizer) -> Model:
    if config.model.kind == "encoder_classifier":
        return EncoderClassifier(whisper.encoder, tokenizer.tasks, config.model)
    return WhisperER(whisper, tokenizer, config.model, config.normalize_loss)


def load_whisper(config: ModelConfig) -> WhisperModel:
    """Pretrained weights as float32: a checkpoint stored as float16 would otherwise stay so."""
    logging.disable_progress_bar()  # it would fill the log
    if config.whisper_sizes:
        raise UserError("model: whisper_model and whisper_sizes are both given; set one of them")
    whisper, info = load_pretrained(
        WhisperModel,
        config.whisper_model,
        dtype=torch.float32,
        attn_implementation="sdpa",
        output_loading_info=True,
    )
    needed = "encoder." if config.kind == "encoder_classifier" or config.decoder_init == "random" else ""
    missing = sorted(key for key in info["missing_keys"] if key.startswith(needed))
    if missing:  # transformers would draw them at random and go on
        raise UserError(
            f"whisper_model '{config.whisper_model}' lacks {len(missing)} tensors of a Whisper: {first_few(missing)}"
        )
    return whisper


def fresh_whisper(config: ModelConfig, tokenizer: Tokenizer) -> WhisperModel:
    """Random weights in the sizes of `whisper_sizes`."""
    if not config.whisper_sizes:
        raise UserError("model: whisper_model or whisper_sizes has to be given (sizes: egs/mini_emo/ser1/conf)")
    known = WhisperConfig().to_dict()
    for key in config.whisper_sizes:
        if key not in known:
            raise UserError(f"model.whisper_sizes: unknown key '{key}'; allowed: those of transformers' WhisperConfig")
    special = {"pad_token_id": tokenizer.end, "bos_token_id": tokenizer.end, "eos_token_id": tokenizer.end}
    sizes = {"vocab_size": tokenizer.text.size, "decoder_start_token_id": tokenizer.prefix[0], **special}
    return WhisperModel(WhisperConfig(**{**sizes, **config.whisper_sizes}))


@torch.no_grad()
def extend_vocabulary(whisper: WhisperModel, tokenizer: Tokenizer, init: str) -> None:
    """Append a row per added token; the old rows stay bit for bit.

    init: "mean" of the old rows; "words", mean of the rows of the label's own text tokens, so that <|happy|> starts at
    " happy"; "random", normal with the old rows' mean and standard deviation per dimension.
    """
    old = whisper.get_input_embeddings().weight.detach().clone()
    if tokenizer.text.size != len(old):
        raise UserError(
            f"the token list extends {tokenizer.text.size} tokens, but the model has {len(old)}: run stage 2 with the "
            "same whisper_model as stage 3, and token_type=bpe only for models from scratch"
        )
    whisper.resize_token_embeddings(tokenizer.size, mean_resizing=False)
    table = whisper.get_input_embeddings().weight
    mean = old.mean(0)
    table[len(old) :] = mean
    if init == "random":
        table[len(old) :] = mean + torch.randn_like(table[len(old) :]) * old.std(0)
    elif init == "words":
        for task, ids in zip(tokenizer.tasks, tokenizer.task_ids):
            for label, index in zip(task.labels, ids):
                table[index] = old[tokenizer.text.encode(label)].mean(0)
