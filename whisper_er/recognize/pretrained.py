"""A trained model from a directory: an experiment, what stage 7 made of one for transformers, or for CTranslate2."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from whisper_er.adapt.merging import holds_adapters, merge
from whisper_er.base import settings
from whisper_er.base.errors import UserError, first_few
from whisper_er.base.files import write_text
from whisper_er.base.plain_files import parse_json, read_plain
from whisper_er.base.weights import load_weights
from whisper_er.config import ONLY_TRAINING, ContextConfig, ModelConfig, TrainConfig
from whisper_er.models.base import Model, Predictor
from whisper_er.models.build import BACKBONE, build_model, read_empty_model
from whisper_er.models.features import PadRule
from whisper_er.recognize.ctranslate2_engine import CTranslate2Whisper
from whisper_er.score.temperature import read_temperatures
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer
from whisper_er.train.checkpoints import no_such_checkpoint
from whisper_er.train.experiment import AVERAGE, BEST, check_kept_weights, ended

EXPORTED = "whisper_er.json"  # settings that transformers' and CTranslate2's own files lack; marks what stage 7 wrote
FORMAT = 1
SHAPE = {"format": int, "engine": ("transformers", "ctranslate2"), "pad": str, "long_audio": ("error", "truncate"),
         "max_target": int}  # fmt: skip
INDEX = "model.safetensors.index.json"  # beside shards
EXPORT_AGAIN = "run stage 7 again"
NAMES = {"model.encoder.": "audio_encoder.encoder.", "model.decoder.": "decoder."}  # transformers' -> ours
TIED = "proj_out.weight"  # the token embedding under another name


@dataclass(frozen=True)
class Pretrained:
    """A model ready to predict. config: of an exported model, only what concerns its input differs from the default.

    temperatures: of categories, fitted on the posteriors of these weights; none of an exported model.
    """

    model: Predictor
    config: TrainConfig
    temperatures: Mapping[str, float] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.model.tokenizer


def open_model(directory: Path, weights: str = AVERAGE) -> Pretrained:
    """Read a directory; neither the hub nor the model that training started from is needed, except for a single
    checkpoint of a training with LoRA.

    weights: file of an experiment. UserError for a directory of no known kind, and for files that do not fit.
    """
    directory = Path(directory)
    if (directory / EXPORTED).is_file():
        return open_export(directory)
    if (directory / "config.yaml").is_file():
        return open_experiment(directory, weights)
    raise UserError(f"{directory}: {why_not_a_model(directory)}")


def why_not_a_model(directory: Path) -> str:
    """Why the directory cannot be opened, and what can."""
    if not directory.is_dir():
        return "no such directory; give an experiment (exp/<tag>/fold<k>) or a model that stage 7 exported"
    inside = sorted(path.parent.name for path in directory.glob("*/config.yaml")) or [
        path.parent.relative_to(directory) for path in sorted(directory.glob(f"*/{EXPORTED}"))
    ]
    if inside:
        return f"holds several models; open one of {first_few(f'{directory}/{name}' for name in inside)}"
    if (directory / "config.json").is_file():
        return (
            f"a model that stage 7 did not write (it has no {EXPORTED}); allowed are experiments, and models that "
            "stage 7 exported"
        )
    return (
        "has neither config.yaml, as an experiment has, nor whisper_er.json, as an exported model; give "
        "exp/<tag>/fold<k> (run stages 3 and 4 first) or a model that stage 7 exported"
    )


def open_experiment(exp_dir: Path, weights: str) -> Pretrained:
    for name in (BACKBONE, weights):
        if not (exp_dir / name).is_file():
            if (exp_dir / name).parent == (exp_dir / BEST).parent and ended(exp_dir):
                raise no_such_checkpoint(exp_dir / name)
            raise UserError(f"{exp_dir / name}: no such file; run stages 3 and 4 for this experiment first")
    config = settings.load(TrainConfig, exp_dir / "config.yaml", leave_out=ONLY_TRAINING)
    tokenizer = load_tokenizer(exp_dir / "token_list")
    model = read_empty_model(config, exp_dir / BACKBONE, tokenizer)
    if config.lora.r and holds_adapters(exp_dir / weights):  # a checkpoint; the mean of several is whole
        tensors = merged(exp_dir, config, tokenizer, [exp_dir / weights])
    else:
        tensors = load_weights(exp_dir / weights)
    fill(model, tensors, exp_dir / weights, f"{exp_dir}/config.yaml")
    if config.model.kind == "seq2seq":
        check_size(exp_dir, model.backbone_config.vocab_size, tokenizer)
    return Pretrained(model, config, read_temperatures(exp_dir, (exp_dir / weights).resolve().name))


def merged(
    exp_dir: Path, config: TrainConfig, tokenizer: Tokenizer, checkpoints: Sequence[Path]
) -> dict[str, torch.Tensor]:
    """The mean of the whole models of an experiment's checkpoints with adapters (lora.r)."""
    check_kept_weights(exp_dir, config)
    return merge(build_model(config, tokenizer).state_dict(), checkpoints, config.lora)


def open_export(directory: Path) -> Pretrained:
    path = directory / EXPORTED
    about = read_plain(parse_json, path, SHAPE, "what stage 7 writes", EXPORT_AGAIN)
    if about["format"] != FORMAT:
        raise UserError(f"{path}: format {about['format']}, this version reads {FORMAT}; {EXPORT_AGAIN}")
    context = settings.build(ContextConfig, about.get("context", {}), f"{path}: context")
    config = TrainConfig(model=ModelConfig(pad=about["pad"], long_audio=about["long_audio"]), context=context)
    tokenizer = load_tokenizer(directory / "token_list")
    if about["engine"] == "ctranslate2":
        return Pretrained(open_ctranslate2(directory, tokenizer, about), config)
    model = read_empty_model(config, directory / "config.json", tokenizer, ["whisper"], EXPORT_AGAIN)
    files = weight_files(directory)
    fill(model, read_transformers(files), files[0], f"{directory}/config.json")
    check_size(directory, model.backbone_config.vocab_size, tokenizer)
    return Pretrained(model, config)


def open_ctranslate2(directory: Path, tokenizer: Tokenizer, about: dict) -> CTranslate2Whisper:
    vocabulary = read_plain(parse_json, directory / "vocabulary.json", [str], "CTranslate2's vocabulary", EXPORT_AGAIN)
    check_size(directory, len(vocabulary), tokenizer)
    return CTranslate2Whisper(directory, tokenizer, PadRule.parse(about["pad"]), about["max_target"])


def check_size(directory: Path, size: int, tokenizer: Tokenizer) -> None:
    if size != tokenizer.size:
        raise UserError(
            f"{directory}: the model has {size} tokens, its token_list {tokenizer.size}; one of the two "
            "belongs to another model"
        )


def weight_files(directory: Path) -> list[Path]:
    """model.safetensors, or the shards that transformers cuts a large model into."""
    if not (directory / INDEX).is_file():
        return [directory / "model.safetensors"]
    shape = {"weight_map": {str: str}}
    index = read_plain(parse_json, directory / INDEX, shape, "the list of a model's tensors", EXPORT_AGAIN)
    names = sorted(set(index["weight_map"].values()))
    odd = [name for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", name)]
    if odd or not names:
        raise UserError(
            f"{directory / INDEX}: names {first_few(map(repr, odd)) or 'no file'}; allowed are files of "
            f"safetensors beside it; {EXPORT_AGAIN}"
        )
    return [directory / name for name in names]


def read_transformers(files: list[Path]) -> dict[str, torch.Tensor]:
    """Tensors under our names, as float32: a model may be stored in 16 bits."""
    tensors = {}
    for path in files:
        for name, tensor in load_weights(path).items():
            if name != TIED:
                tensors[our_name(name)] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors


def our_name(name: str) -> str:
    for theirs, ours in NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def fill(model: Model, tensors: dict[str, torch.Tensor], source: Path, configured_by: str) -> None:
    """Give the model its weights, for prediction. UserError where names or shapes differ."""
    model.eval()
    try:
        model.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source}: does not fit {configured_by}: {reason}") from None


def write_about(directory: Path, opened: Pretrained, engine: str) -> None:
    """Write the file EXPORTED of an exported model."""
    about = {
        "format": FORMAT,
        "engine": engine,
        "pad": opened.config.model.pad,
        "long_audio": opened.config.model.long_audio,
        "max_target": opened.model.max_target,
    }
    if opened.config.context.turns:
        about["context"] = asdict(opened.config.context)
    write_text(directory / EXPORTED, json.dumps(about, indent=1) + "\n")
