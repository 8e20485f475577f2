"""Weights between the fine-tuned ones and those that they started from (WiSE-FT: Wortsman et al., 2022, "Robust
fine-tuning of zero-shot models"): (1 - share) x fine-tuned + share x the other.

What the other model cannot have, rows of added tokens and the layers of the conventional method behind its encoder,
stays fine-tuned.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from whisper_er.base import settings
from whisper_er.base.errors import UserError, first_few
from whisper_er.base.settings import allow
from whisper_er.base.weights import open_weights, save_weights
from whisper_er.config import TrainConfig
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.recognize.pretrained import open_model
from whisper_er.retain.distillation import PRETRAINED
from whisper_er.train.experiment import DATA, heard
from whisper_er.train.validation import Validation, validate

SHARED = ("audio_encoder.", "decoder.")  # begin the names of what both models have
VOCABULARY = "decoder.embed_tokens.weight"  # whose rows behind the base vocabulary are the added tokens'


def parse_towards(option: str) -> tuple[str, list[float]]:
    """`pretrained:0.3`, `exp/<tag>/fold1:0,0.1,0.2` -> whose weights, and shares from 0 to 1."""
    other, _, numbers = option.rpartition(":")
    try:
        shares = [float(number) for number in numbers.split(",")]
    except ValueError:
        shares = []
    fine = bool(other and shares) and all(0 <= share <= 1 for share in shares)
    allow(
        fine, "--towards", f"'{option}'", "pretrained:<shares> or <experiment>:<shares>, such as pretrained:0,0.1,0.3"
    )
    return other, shares


def interpolate(
    fine_tuned: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], share: float, base_size: int
) -> dict[str, torch.Tensor]:
    """Mixed in float64, in the dtypes of `fine_tuned`. base_size: tokens that both have. UserError where shapes
    differ."""
    mixed = dict(fine_tuned)
    for name, tensor in fine_tuned.items():
        if not name.startswith(SHARED):
            continue
        rows = slice(base_size) if name == VOCABULARY else slice(None)
        if name not in other or other[name][rows].shape != tensor[rows].shape:
            raise UserError(
                f"--towards: the other model has no {name} of this shape; give one of the same whisper_model"
            )
        mixed[name] = tensor.clone()
        mixed[name][rows] = (1 - share) * tensor[rows].double() + share * other[name][rows].double()
    return mixed


class Interpolation:
    """The mean of an experiment's best checkpoints, on its way towards another model."""

    def __init__(self, exp_dir: Path, towards: str) -> None:
        self.exp_dir, self.towards = exp_dir, towards
        self.model = open_model(exp_dir).model
        self.fine_tuned = self.model.state_dict()
        if towards != PRETRAINED and (Path(towards) / DATA).is_file():
            self.check_speakers(Path(towards))
        self.other = self.pretrained() if towards == PRETRAINED else open_model(Path(towards)).model.state_dict()

    @property
    def name(self) -> str:
        """Of the files that come of it; of an experiment exp/<tag>/fold1, <tag>_fold1."""
        words = Path(self.towards).parts[-2:] if self.towards != PRETRAINED else (PRETRAINED,)
        return f"ave.towards_{'_'.join(word.strip('/') for word in words if word.strip('/.'))}"

    def check_speakers(self, other: Path) -> None:
        """UserError where the other experiment was trained on speakers that this one was not: decoding, which refuses
        test speakers of the training, would not know of them."""
        if further := sorted(heard(other) - heard(self.exp_dir)):
            raise UserError(
                f"--towards: {other} was trained on {len(further)} speakers that {self.exp_dir} was not: "
                f"{first_few(further)}; give an experiment of the same training set"
            )

    def pretrained(self) -> dict[str, torch.Tensor]:
        config = settings.load(TrainConfig, self.exp_dir / "config.yaml")
        if not (config.model.whisper_model or config.model.encoder_model):
            raise UserError(f"--towards pretrained: {self.exp_dir} was trained from scratch; give another experiment")
        if config.model.decoder_init != "pretrained":
            raise UserError(
                f"--towards pretrained: {self.exp_dir} began with model.decoder_init={config.model.decoder_init}: its "
                "decoder is no change of the pretrained one; give another experiment"
            )
        return build_model(config, self.model.tokenizer).state_dict()

    def at(self, share: float) -> dict[str, torch.Tensor]:
        return interpolate(self.fine_tuned, self.other, share, self.model.tokenizer.text.size)

    def write(self, share: float) -> Path:
        """The file of the mixed weights. UserError where one of this name went towards another model."""
        path, source = self.exp_dir / f"{self.name}_{share:g}.safetensors", str(Path(self.towards))
        if path.is_file() and (before := (open_weights(path).metadata() or {}).get("towards")) != source:
            raise UserError(f"{path}: goes towards {before}, not {source}; move it away first")
        save_weights(self.at(share), path, {"towards": source})
        return path

    def curve(self, shares: Sequence[float], valid_set: Path, device: torch.device) -> Iterator[Validation]:
        """What the model of each share is worth on a validation set: accuracies as training measures them, and the loss
        without the options of `loss`."""
        config = settings.load(TrainConfig, self.exp_dir / "config.yaml")
        # where votes say which utterances have a label
        soft_labels = [name for name in config.loss.soft_labels if (valid_set / f"utt2{name}_votes").is_file()]
        utterances = read_utterances(
            valid_set,
            self.model.tokenizer,
            config.model.long_audio,
            soft_labels=soft_labels,
            context=config.context,
        )
        for share in shares:
            self.model.load_state_dict(self.at(share), assign=True)
            result = validate(self.model.to(device), utterances, self.model.tokenizer, config, device)
            assert result is not None  # nothing stops it
            yield result
