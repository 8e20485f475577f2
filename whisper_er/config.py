"""Configuration: dataclasses <-> YAML and key=value. An unknown key is an error that names the nearest one.

A field whose value names a part (a pooling, a loss, a schedule ...) says which dict holds these parts:
`named("real", "models.pooling.POOLINGS")`. A part that is added to the dict can be named in the configuration; an
unknown name is an error that lists the known ones.
"""

import dataclasses
import datetime
import difflib
import importlib
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from whisper_er.base.errors import UserError
from whisper_er.base.plain_files import parse_yaml, shorten

C = TypeVar("C")
SAMPLE_RATE = 16000  # Hz, of everything after stage 1
MAX_SECONDS = 30  # of an utterance: Whisper's encoder has positions for no more
MAX_SAMPLES = MAX_SECONDS * SAMPLE_RATE
MOST = 1_000_000_000  # largest number allowed: a seed times 1,000,003 stays below 2^63, and a bfloat16 holds it


def named(default: Any, registry: str) -> Any:
    """A field that names a part, or parts with their options. registry: dotted path of their dict, below whisper_er."""
    metadata = {"registry": registry}
    if isinstance(default, str):
        return field(default=default, metadata=metadata)
    return field(default_factory=lambda: type(default)(default), metadata=metadata)


@dataclass
class SpecAugmentConfig:
    """Masks on the log-mel features in training; no masks, no augmentation."""

    time_masks: int = 0
    time_width: float = 0.05  # longest time mask, as a share of the utterance's frames
    freq_masks: int = 0
    freq_width: int = 10  # widest frequency mask, in mel bins

    def __post_init__(self) -> None:
        at_least(0, self, "freq_width")
        between(0, 1000, self, "time_masks", "freq_masks")
        between(0, 1, self, "time_width")


@dataclass
class ModelConfig:
    """The model: its kind, its weights before training, its input."""

    kind: Literal["seq2seq", "encoder_classifier"] = "seq2seq"  # Whisper-ER | the conventional method
    whisper_model: str = ""  # hub name or directory of pretrained weights; empty: from scratch with the sizes below
    encoder_model: str = ""  # instead: wav2vec 2.0, HuBERT or WavLM for encoder_classifier, hub name or directory
    # transformers' WhisperConfig, from scratch only
    whisper_sizes: dict[str, int | float | bool | str] = field(default_factory=dict)
    # what is redrawn before training (Table 5 of the paper): nothing | the decoder's layers | all of the decoder, with
    # embedding and positions; the rows of the added tokens are then random, whatever new_token_init says
    decoder_init: Literal["pretrained", "layers", "all"] = "pretrained"
    # rows of the added tokens: mean of all | of those of the label's words; from scratch, where no word means anything,
    # random | random
    new_token_init: Literal["mean", "words", "random"] = "words"
    pad: str = "none"  # encoder input per utterance: none | +<seconds> | to <seconds> | 30s
    train_pad: dict[str, float] = field(default_factory=dict)  # pad -> share of the training batches; empty: all by pad
    pool: str = named("real", "models.pooling.POOLINGS")  # of encoder_classifier: real | all | attentive
    long_audio: Literal["error", "truncate"] = "error"  # what to do with an utterance over 30 s
    specaug: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)

    def __post_init__(self) -> None:
        pools = self.kind == "encoder_classifier"
        allow(pools or self.pool == "real", "pool", self.pool, "real with model.kind=seq2seq, which pools nothing")
        for pad, share in self.train_pad.items():
            allow(share > 0, f"train_pad.{pad}", share, "shares above 0")
        total = sum(self.train_pad.values())
        allow(not self.train_pad or abs(total - 1) < 1e-6, "train_pad", f"a sum of {total:g}", "shares that sum to 1")
        for key, value in self.whisper_sizes.items():  # a billion layers would fill the memory
            most = 1000 if key.endswith("layers") or key == "num_mel_bins" else 1_000_000
            fine = isinstance(value, str) or abs(value) <= most
            allow(fine, f"whisper_sizes.{key}", value, f"at most {most}")


@dataclass
class LossConfig:
    """Of category tasks, in both methods; texts and scales keep the cross-entropy. The defaults are the paper's.

    The loss of the validation is this one as well; what is logged per task is the cross-entropy.
    """

    category: str = named("cross_entropy", "models.losses.CATEGORY_LOSSES")  # cross_entropy | focal
    focal_gamma: float = 2.0  # of focal: the larger, the less a correct prediction counts
    label_smoothing: float = 0.0  # share of a target that is divided among all labels of the task
    class_weights: str = named(
        "none", "models.losses.CLASS_WEIGHTS"
    )  # none | inverse | effective, from training labels
    effective_beta: float = 0.999  # of effective: 0 is no weights, towards 1 it becomes inverse

    def __post_init__(self) -> None:
        allow(0 <= self.label_smoothing <= 1, "label_smoothing", self.label_smoothing, "0 to 1")
        allow(0 <= self.focal_gamma <= 100, "focal_gamma", self.focal_gamma, "0 to 100")
        allow(0 <= self.effective_beta < 1, "effective_beta", self.effective_beta, "0 and more, below 1")


@dataclass
class OptimConfig:
    """AdamW and a schedule of the learning rate. The defaults are the paper's; what it leaves open, torch's."""

    lr: float = 1e-5
    lr_factors: dict[str, float] = field(default_factory=dict)  # part of a parameter's name -> factor on lr
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.01
    first_moment: Literal["float32", "bfloat16"] = "float32"  # bfloat16: 2 bytes a parameter less
    grad_clip: float = 0.0  # largest norm of the whole gradient; 0: off
    warmup_steps: int = 0  # over which the learning rate rises linearly, in every schedule
    # plateau (torch's ReduceLROnPlateau on the validation) | constant | linear | cosine | inverse_sqrt (by the step)
    schedule: str = named("plateau", "train.schedule.SCHEDULES")
    plateau_factor: float = 0.1
    plateau_patience: int = 10  # validations
    plateau_metric: Literal["wa", "ua", "loss"] = "wa"  # what the plateau watches, of valid_task

    def __post_init__(self) -> None:
        allow(0 < self.lr <= 1000, "lr", self.lr, "above 0, at most 1000")
        allow(len(self.betas) == 2, "betas", self.betas, "two numbers")
        allow(all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "0 and more, below 1")
        for part, factor in self.lr_factors.items():
            allow(0 <= factor <= MOST, f"lr_factors.{part}", factor, f"0 to {MOST}")
        at_least(0, self, "weight_decay", "grad_clip", "warmup_steps", "plateau_patience")
        allow(0 < self.plateau_factor < 1, "plateau_factor", self.plateau_factor, "between 0 and 1")


@dataclass
class ValidConfig:
    """How validation predicts, and what it selects by. WA, UA and loss are recorded whatever is chosen."""

    # as in decoding, a beam of 1 | the answer to each task given the reference of those before it; to a text, the
    # likeliest token at each place of its reference, of which 1 - WER is taken as of any other text
    predict: Literal["greedy", "teacher_forced"] = "greedy"
    select: Literal["wa", "ua", "loss"] = "wa"  # of valid_task: ranks the checkpoints, and stops early


ONLY_TRAINING = ("augment", "loss", "optim", "valid")  # sections that a trained model does not need


@dataclass
class TrainConfig:
    """All that a training depends on besides its data and token list."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    valid: ValidConfig = field(default_factory=ValidConfig)
    # Waveforms in training: speed | noise, with their options; data/augment.py has them
    augment: dict[str, dict[str, Any]] = named({}, "data.augment.AUGMENTATIONS")
    normalize_loss: bool = True  # eq. 6; false: eq. 5, sums over tokens
    max_steps: int = 24000  # a step is one optimizer update; 0: the pretrained model as it is
    valid_interval: int = 480  # steps between validations, each of which may save a checkpoint
    # Minutes between training states, which are saved at the next validation, and when a signal asks to stop; 0: at
    # every validation. A kill costs what was done since the last one; the result does not depend on it.
    save_interval: float = 10
    patience: int = 20  # validations without improvement before stopping
    n_best: int = 10  # checkpoints kept and averaged
    # after training and averaging, the last state and all n best checkpoints stay, not the best one and the mean alone
    keep_checkpoints: bool = False
    valid_task: str = ""  # whose accuracy selects; empty: emotion if it is among the tasks, else the first task
    batch_size: int = 16  # utterances in one forward pass, of all processes together
    bucketing: bool = True  # batches of similar length; false: drawn without looking at the length
    accum_grad: int = 1  # forward passes per step
    parallel: Literal["ddp", "fsdp"] = "ddp"  # several processes: each holds the model | a share of it
    valid_batch_size: int = 32
    dtype: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast, weights stay float32
    activation_checkpointing: bool = False  # layers are computed again for the gradient: less memory, a third more work
    num_workers: int = 2  # processes that read audio, as far as cores are left; 0: the training process reads
    # GB of memory, on each machine, that keep what has to be decoded, such as FLAC, for the next epochs. It is taken as
    # it fills, 0.115 GB an hour: 2 GB are enough for IEMOCAP twice, with one process; each of n has an n-th of them.
    # What does not fit is decoded in every epoch.
    cache_gb: float = 2.0
    log_interval: int = 20  # steps between log lines
    seed: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "valid_interval", "patience", "n_best", "batch_size", "accum_grad")
        at_least(1, self, "valid_batch_size", "log_interval")
        at_least(0, self, "max_steps", "save_interval", "num_workers", "cache_gb", "seed")


@dataclass
class DecodeConfig:
    """Settings of the search for an utterance's target."""

    beam_size: int = 4
    length_penalty: float = 1.0  # score = log probability / length ** length_penalty
    # Longest text in tokens per encoder frame (50 a second); the decoder's positions, 448 in Whisper, bound it as well.
    # English takes 4 tokens a second. A letter of Georgian, Burmese or Tibetan takes up to 3: read fast (20 letters of
    # English a second), the first article of the Declaration of Human Rights takes 50, 85 and 92.
    maxlenratio: float = 2.0
    no_repeat_ngram_size: int = 0  # so many text tokens in a row are not written twice in a hypothesis; 0: they may be
    posterior: Literal["marginal", "best"] = "marginal"  # over the beam | given the best hypothesis
    search: str = named("beam", "models.search.SEARCHES")  # beam
    # only well-formed answers | any token: a plain beam, where an answer may lack its label
    grammar: Literal["strict", "free"] = "strict"
    teacher_forced: bool = False  # each answer given the references of the tasks before it: what it could be at best
    lang: str = ""  # language token of the prefix; empty: that of utt2lang, or of the token list; auto: the likeliest
    suppress: Literal["none", "whisper"] = "none"  # whisper: the tokens that its generation config lists
    batch_size: int = 32
    dtype: Literal["float32", "bfloat16"] = "float32"
    num_workers: int = 2

    def __post_init__(self) -> None:
        at_least(1, self, "beam_size", "batch_size")
        between(1, 1000, self, "beam_size")
        between(-100, 100, self, "length_penalty")
        between(0, 1000, self, "maxlenratio", "no_repeat_ngram_size")
        at_least(0, self, "num_workers")
        if self.teacher_forced:
            without = "with teacher_forced, which searches nothing; leave it out"
            allow(self.grammar == "strict", "grammar", self.grammar, f"strict {without}")
            allow(self.suppress == "none", "suppress", self.suppress, f"none {without}")
            allow(not self.no_repeat_ngram_size, "no_repeat_ngram_size", self.no_repeat_ngram_size, f"0 {without}")
            allow(not self.lang, "lang", self.lang, f"that of the token list {without}")


def allow(valid: bool, name: str, value: Any, allowed: str) -> None:
    """UserError that says what is allowed, unless the value is valid."""
    if not valid:
        raise UserError(f"{name}: {value} is not allowed; allowed: {allowed}")


def at_least(least: int, config: Any, *names: str) -> None:
    for name in names:
        allow(getattr(config, name) >= least, name, getattr(config, name), f"{least} and more")
        allow(getattr(config, name) <= MOST, name, getattr(config, name), f"at most {MOST}")


def between(low: float, high: float, config: Any, *names: str) -> None:
    for name in names:
        allow(low <= getattr(config, name) <= high, name, getattr(config, name), f"{low} to {high}")


def load(cls: type[C], path: Path, overrides: list[str] = (), leave_out: Sequence[str] = ()) -> C:
    """Read a YAML file and apply `key=value` overrides, nested keys with dots (optim.lr=1e-4).

    leave_out: sections that are not looked at, and keep their defaults.
    """
    try:
        values = parse_yaml(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    check_mapping(values, str(path))
    values = updated({key: value for key, value in values.items() if key not in leave_out})
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"'{override}': expected key=value, for example optim.lr=1e-4")
        set_nested(values, key.split("."), parse_value(value, override))
    return build(cls, values, f"{path} with {' '.join(overrides)}" if overrides else str(path))


def updated(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a file that an older version may have written: decoder_init: all was called random."""
    model = values.get("model")
    if isinstance(model, dict) and model.get("decoder_init") == "random":
        return values | {"model": model | {"decoder_init": "all"}}
    return values


def parse_value(value: str, override: str) -> Any:
    try:
        parsed = parse_yaml(value)
    except ValueError:
        raise UserError(f"'{override}': the value is not valid YAML; quote it") from None
    return value if type(parsed) is int and str(parsed) != value else parsed  # model.pad=+1 is no number


def set_nested(values: dict, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise UserError(f"{'.'.join(keys)}: '{key}' is a value, not a section")
    values[keys[-1]] = value


def build(cls: type[C], values: Any, where: str) -> C:
    """Make a configuration of type `cls` from plain values; `where` opens the error messages."""
    check_mapping(values, where)
    field_types = typing.get_type_hints(cls)
    for key in values:
        if key not in field_types:
            near = difflib.get_close_matches(str(key), field_types, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"allowed: {' '.join(field_types)}"
            raise UserError(f"{where}: unknown key '{key}'; {hint}")
    values = {key: convert(value, field_types[key], f"{where}: {key}") for key, value in values.items()}
    try:
        config = cls(**values)
    except UserError as error:  # of its bounds, which do not know where it stands
        raise UserError(f"{where}: {error}") from None
    for setting in dataclasses.fields(config):
        if "registry" in setting.metadata:
            check_names(getattr(config, setting.name), setting, f"{where}: {setting.name}")
    return config


def check_names(value: str | dict[str, dict], setting: dataclasses.Field, where: str) -> None:
    """UserError for a name that the field's registry does not have. Options become those of its entry, all of them.

    The default is not looked up: the registries stand in modules whose import takes seconds.
    """
    if value == (setting.default if setting.default is not dataclasses.MISSING else setting.default_factory()):
        return
    module, _, name = setting.metadata["registry"].rpartition(".")
    registry = getattr(importlib.import_module(f"whisper_er.{module}"), name)
    for chosen in [value] if isinstance(value, str) else value:
        if chosen not in registry:
            raise UserError(f"{where}: '{chosen}' is not allowed; allowed: {' '.join(registry)}")
    if isinstance(value, dict):
        for chosen, options in value.items():  # with their defaults, so that config.yaml says all of what ran
            value[chosen] = dataclasses.asdict(build(registry[chosen], options or {}, f"{where}.{chosen}"))


def check_mapping(values: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected 'key: value' lines, found {shorten(values)}")


def convert(value: Any, kind: Any, where: str) -> Any:
    """Check one value against its type; numbers may be written as 1e-4, which YAML reads as text."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)
    if kind is Any:  # an option of a part that checks it itself
        return value
    if origin is Literal:
        if value not in args:
            raise UserError(f"{where}: '{value}' is not allowed; allowed: {' '.join(args)}")
        return value
    if origin is list and isinstance(value, list):
        return [convert(item, args[0], where) for item in value]
    if origin is dict and isinstance(value or {}, dict):  # nothing behind the colon: an empty section
        value = value or {}
        return {convert(key, str, where): convert(item, args[1], f"{where}.{key}") for key, item in value.items()}
    if origin is types.UnionType and type(value) in args:
        return convert(value, type(value), where)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            allow(math.isfinite(number), where, number, "finite numbers")
            return number
    elif kind is str and isinstance(value, (str, int, float, datetime.date)):
        allow(str(value).isprintable(), where, shorten(value), "printable characters")
        return str(value)
    elif origin is None and type(value) is kind:
        return value
    raise UserError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {shorten(value)}")


def to_plain(config: Any) -> dict[str, Any]:
    """The configuration as plain values, as YAML reads them back."""
    return yaml.safe_load(yaml.safe_dump(dataclasses.asdict(config)))
