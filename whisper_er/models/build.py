"""Configuration -> model: pretrained or from scratch, vocabulary extended."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperDecoder
from transformers.utils import logging

from whisper_er.base.errors import UserError, first_few
from whisper_er.base.hub import load_pretrained
from whisper_er.base.plain_files import is_a, parse_json, read_plain
from whisper_er.config import ModelConfig, TrainConfig
from whisper_er.models.base import Model
from whisper_er.models.encoder import AudioEncoder
from whisper_er.models.encoder_classifier import EncoderClassifier, WeightedLayers
from whisper_er.models.losses import LabelCounts, LabelLoss
from whisper_er.models.pooling import POOLINGS, EachLayer
from whisper_er.models.seq2seq import WhisperER
from whisper_er.models.ssl_encoder import SSL_TYPES, SslEncoder
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.whisper_vocabulary import whisper_config

BACKBONE = "backbone_config.json"  # of an experiment: transformers' configuration of the model inside
LARGEST = 1_000_000  # largest integer in it: a thousand times those of real models
EXTRACTOR = (("preprocessor_config.json",), ("processor_config.json",))  # either, of a directory of an SSL model
MOST = {"layers": 1000, "num_mel_bins": 1000}  # largest where objects or tables are made even without weights


def build_model(config: TrainConfig, tokenizer: Tokenizer, label_counts: LabelCounts | None = None) -> Model:
    """A model ready to be trained; fresh parameters are drawn from torch's global generator.

    label_counts: of the training set, for loss.class_weights; without them every class counts the same.
    """
    if config.model.encoder_model:
        return assemble(config, load_ssl(config.model), tokenizer, label_counts)
    whisper = load_whisper(config.model) if config.model.whisper_model else fresh_whisper(config.model, tokenizer)
    if config.model.kind == "seq2seq":
        redraw_decoder(whisper, config.model.decoder_init)
        extend_vocabulary(whisper, tokenizer, new_rows(config.model))
    return assemble(config, whisper, tokenizer, label_counts)


def empty_model(config: TrainConfig, backbone_config: dict, tokenizer: Tokenizer) -> Model:
    """The model of a saved transformers configuration, without weights, to be filled from a checkpoint."""
    kind = CONFIG_MAPPING[backbone_config["model_type"]]
    with torch.device("meta"):  # nothing is drawn that would be overwritten
        backbone = AutoModel.from_config(kind.from_dict(backbone_config))
    return assemble(config, backbone, tokenizer)


def read_empty_model(
    config: TrainConfig, path: Path, tokenizer: Tokenizer, types: Sequence[str] = (), remedy: str = "run stage 3 again"
) -> Model:
    """The model, without weights, of a configuration on disk: an experiment's backbone_config.json or an export's.
    UserError unless it is the configuration of one of the `types` (default: all that are supported)."""
    shape = {"model_type": tuple(types) or ("whisper", *SSL_TYPES)}
    values = read_plain(parse_json, path, shape, "the configuration of a model", remedy)
    try:
        return empty_model(config, known_values(values), tokenizer)
    except UserError:
        raise
    except Exception as error:  # transformers judges a configuration in many ways
        reason = f"{type(error).__name__} {' '.join(str(error).split())[:200]}"
        raise UserError(f"{path}: not the configuration of a model ({reason}); {remedy}") from None


def known_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values that define the architecture, checked against the types of transformers' defaults. The others, among
    them addresses of code or attention kernels to fetch, are left out."""
    defaults, checked = CONFIG_MAPPING[values["model_type"]]().to_dict() | {"do_normalize": True}, {}
    for key, value in values.items():
        kind = type(defaults.get(key))
        if kind not in (bool, int, float, str, list):
            continue
        numbers = value if isinstance(value, list) else [value]
        most = next((most for name, most in MOST.items() if key.endswith(name)), LARGEST)
        fits = value is None or is_a(value, kind)
        if not fits or any(type(number) is int and not -1 <= number <= most for number in numbers):
            raise ValueError(f"'{key}' is {value!r}"[:100])
        checked[key] = value
    return checked


def assemble(
    config: TrainConfig, backbone: PreTrainedModel, tokenizer: Tokenizer, label_counts: LabelCounts | None = None
) -> Model:
    """The model around a backbone; UserError for options that do not fit its kind."""
    if config.activation_checkpointing:
        name = "activation" if hasattr(backbone, "activation_checkpointing_enable") else "gradient"  # before 5.23
        getattr(backbone, f"{name}_checkpointing_enable")({"use_reentrant": False})  # a flag in each layer
    if config.model.encoder_model:
        check_ssl(config.model)
        if config.freeze or config.model.layers != "last":
            backbone.config.layerdrop = 0.0
    if config.model.kind == "seq2seq":
        model = WhisperER(backbone, tokenizer, config, label_counts)
    else:
        model = classifier(config, backbone, tokenizer, label_counts)
    model.freeze(config.freeze)
    return model


def classifier(
    config: TrainConfig, backbone: PreTrainedModel, tokenizer: Tokenizer, label_counts: LabelCounts | None
) -> EncoderClassifier:
    options, width = config.model, backbone.config.hidden_size
    encoder = SslEncoder(backbone) if options.encoder_model else AudioEncoder(backbone.encoder, options)
    numbers = options.layers if isinstance(options.layers, list) else []
    if numbers:
        leave_out_unread(encoder, numbers)
    make_pooling = POOLINGS[options.pool]
    if numbers and not options.head_width:
        pooling = EachLayer([make_pooling(width) for _ in numbers])
    else:
        pooling = make_pooling(options.head_width or width)
    return EncoderClassifier(
        encoder,
        tokenizer,
        pooling,
        LabelLoss(config.loss, tokenizer.tasks, label_counts),
        WeightedLayers(len(encoder.encoder.layers)) if options.layers == "weighted" else None,
        torch.nn.Linear(width * max(1, len(numbers)), options.head_width) if options.head_width else None,
        numbers,
    )


def leave_out_unread(encoder: AudioEncoder | SslEncoder, numbers: Sequence[int]) -> None:
    """Freeze what comes behind the last of these layers: it gets no gradient, for which DDP would wait. UserError for a
    layer that the encoder does not have."""
    (_, layers, after), highest = encoder.stack(), max(numbers)
    if highest > len(layers):
        raise UserError(
            f"model.layers: {numbers} is not allowed; this encoder has 1 to {len(layers)}, and 0, their input"
        )
    for module in [*layers[highest:], *after] if highest < len(layers) else []:
        module.requires_grad_(False)


def check_ssl(config: ModelConfig) -> None:
    """UserError for options of Whisper that another encoder cannot follow."""
    if config.kind != "encoder_classifier":
        raise UserError(f"model.encoder_model with model.kind={config.kind}: it has no decoder; set encoder_classifier")
    if config.whisper_model or config.whisper_sizes:
        raise UserError("model: encoder_model and whisper_model or whisper_sizes are both given; set one of them")
    if config.pad != "none" or config.train_pad or config.specaug.time_masks or config.specaug.freq_masks:
        raise UserError(
            "model.pad, model.train_pad, model.specaug: they work on log-mel features, which model.encoder_model does "
            "not read; leave them at none, {} and 0"
        )


def load_ssl(config: ModelConfig) -> PreTrainedModel:
    """A wav2vec 2.0, HuBERT or WavLM as float32; its configuration gets do_normalize of its feature extractor."""
    check_ssl(config)
    logging.disable_progress_bar()
    name, option = config.encoder_model, "encoder_model"
    model, info = load_pretrained(AutoModel, name, option, dtype=torch.float32, output_loading_info=True)
    if model.config.model_type not in SSL_TYPES:
        raise UserError(
            f"encoder_model '{config.encoder_model}' is a {model.config.model_type} model; allowed: "
            f"{' '.join(SSL_TYPES)}"
        )
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("masked_spec_embed"))
    if missing:
        raise UserError(f"encoder_model '{config.encoder_model}' lacks {len(missing)} tensors: {first_few(missing)}")
    extractor = load_pretrained(Wav2Vec2FeatureExtractor, name, option, needs=EXTRACTOR)
    model.config.do_normalize = extractor.do_normalize
    return model


def load_whisper(config: ModelConfig) -> WhisperModel:
    """Pretrained weights as float32: a checkpoint stored as float16 would otherwise stay so."""
    logging.disable_progress_bar()  # it would fill the log
    if config.whisper_sizes:
        raise UserError("model: whisper_model and whisper_sizes are both given; set one of them")
    whisper_config(config.whisper_model)  # of another model, transformers makes a Whisper that does not fit together
    whisper, info = load_pretrained(
        WhisperModel,
        config.whisper_model,
        dtype=torch.float32,
        attn_implementation="sdpa",
        output_loading_info=True,
    )
    kept = {"pretrained": "", "layers": ("encoder.", "decoder.embed_"), "all": "encoder."}  # beginnings of names
    needed = "encoder." if config.kind == "encoder_classifier" else kept[config.decoder_init]
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


def redraw_decoder(whisper: WhisperModel, what: str) -> None:
    """Draw the decoder's weights anew as far as decoder_init says: "pretrained" nothing, "layers" with the final layer
    norm, "all" also embedding and positions."""
    if what == "pretrained":
        return
    fresh, pretrained = WhisperDecoder(whisper.config), whisper.decoder
    if what == "layers":
        fresh.embed_tokens, fresh.embed_positions = pretrained.embed_tokens, pretrained.embed_positions
    whisper.decoder = fresh


def new_rows(config: ModelConfig) -> str:
    """How the rows of the added tokens start: words are worth something to a decoder that has learned them."""
    if config.decoder_init != "pretrained" or (config.new_token_init == "words" and not config.whisper_model):
        return "random"
    return config.new_token_init


@torch.no_grad()
def extend_vocabulary(whisper: WhisperModel, tokenizer: Tokenizer, init: str) -> None:
    """Append a row per added token; the old rows stay bit for bit.

    init: "mean" of the old rows; "words", mean of the rows of the label's own text tokens, so that <|happy|> starts at
    " happy" and <|valence:3|> at " valence 3"; "random", normal with the old rows' mean and standard deviation per
    dimension.
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
                # The name of a scale as well: bins of valence and arousal have the same numbers.
                words = f"{task.name} {label}" if task.kind == "scale" else label
                table[index] = old[tokenizer.text.encode(words)].mean(0)
