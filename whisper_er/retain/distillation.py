"""Distillation of the text: a frozen teacher reads the same audio and the reference words, and the student's next-token
distributions are held near its own (Hinton et al., 2015, on the tokens of eq. 6).

Only the text that comes first in the target: there both have read the same tokens.
Axes: B utterances, L target tokens, N learned positions, V base vocabulary, which both share.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from whisper_er.base.errors import UserError, first_few
from whisper_er.batch import IGNORE, Batch
from whisper_er.config import DistilConfig, ModelConfig, TrainConfig
from whisper_er.models.build import build_model
from whisper_er.models.decoder import cross_attention_inputs, decode
from whisper_er.models.features import PadRule
from whisper_er.models.losses import sum_by_task
from whisper_er.models.seq2seq import WhisperER
from whisper_er.recognize.pretrained import EXPORTED, open_model
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.train.experiment import AVERAGE, DATA, heard, speakers

PRETRAINED = "pretrained"  # in place of a name: the model that the training itself starts from
# Of a Whisper that was not fine-tuned, which knows nothing but 30 s. KL(30s || pad) a text token, whisper-base, 16
# utterances of EmoDB / RAVDESS: none 0.57 / 0.02 nats, to 10 0.04 / 0.01, at a fifth of the cost of 30s.
PAD = "to 10"
PROBES = 500  # tokens that are spelt to tell one vocabulary from another


class Distillation:
    """weight x temperature^2 x KL(teacher || student) of the text of the first task.

    No Module, so that the teacher is neither trained nor saved, and torch's wrappers do not see it.
    """

    def __init__(self, teacher: WhisperER, config: DistilConfig, normalize: bool) -> None:
        self.teacher, self.config, self.normalize = teacher.eval().requires_grad_(False), config, normalize
        self.end, self.size = teacher.tokenizer.end, teacher.tokenizer.text.size

    def __call__(self, batch: Batch, logits_NV: torch.Tensor) -> torch.Tensor:
        """Nats, summed over the utterances; each divided by the length of its task, as in eq. 6 (`normalize`).

        logits_NV: the student's, whose added tokens are left out. Without <|endoftext|>, after which comes no text.
        """
        divergence_N = self.divergence(logits_NV[:, : self.size], self.teacher_logits(batch))
        is_first_BL = (batch.task_BL == 0) & (batch.target_BL != IGNORE)
        is_text_N = (is_first_BL & (batch.target_BL != self.end)).flatten()[batch.learned_N]
        divergence_N = torch.where(is_text_N, divergence_N, 0.0)
        divergence_B = sum_by_task(divergence_N, is_first_BL[..., None], batch.learned_N)[:, 0]
        if self.normalize:
            divergence_B = divergence_B / is_first_BL.sum(1).clamp(min=1)
        return self.config.weight * self.config.temperature**2 * divergence_B.sum()

    def divergence(self, student_NV: torch.Tensor, teacher_NV: torch.Tensor) -> torch.Tensor:
        """float32 (N,), nats: KL of the distributions at the temperature."""
        logp_NV, target_NV = ((x.float() / self.config.temperature).log_softmax(-1) for x in (student_NV, teacher_NV))
        return F.kl_div(logp_NV, target_NV, reduction="none", log_target=True).sum(-1)

    @torch.no_grad()
    def teacher_logits(self, batch: Batch) -> torch.Tensor:
        """(N, V). Labels that follow the text are no tokens of the teacher's: it reads <|endoftext|> for them."""
        states_BTD, mask_BT = self.teacher.encode(batch)
        input_BL = torch.where(batch.input_BL < self.size, batch.input_BL, self.end)
        cross = cross_attention_inputs(self.teacher.decoder, states_BTD, mask_BT)
        hidden_BLD, _ = decode(self.teacher.decoder, input_BL, cross)
        return self.teacher.logits(hidden_BLD.flatten(0, 1)[batch.learned_N])[:, : self.size]


def distil(model: WhisperER, config: TrainConfig, fold: str, train_set: Path, valid_set: Path) -> list[str]:
    """Give the model the teacher of config.distil, on the model's device; returns the speakers of the teacher's
    training that train_set lacks.

    fold: name of the experiment's directory, see `directory_of`. UserError for a student without a text to distil, a
    teacher with another vocabulary, or one that may know the test speakers.
    """
    tokenizer = model.tokenizer
    if tokenizer.tasks[0].kind != "text":
        tasks = " ".join(task.name for task in tokenizer.tasks)
        raise UserError(
            "distil.model: the text has to be the first task, as the teacher knows no labels before it; the tasks are "
            f"'{tasks}'; put asr first, or leave distil.model empty"
        )
    directory = directory_of(config.distil.model, fold)
    teacher = load_teacher(config, directory, tokenizer)
    teacher.to(next(model.parameters()).device)
    model.distillation = Distillation(teacher, config.distil, config.normalize_loss)
    if not (directory / DATA).is_file():  # of any other Whisper nobody knows them
        return []
    return further_speakers(directory, set(speakers(train_set)), set(speakers(valid_set)))


def directory_of(name: str, fold: str) -> Path:
    """Of the teacher distil.model=<name>; of one that holds several, the one of the fold's name."""
    return Path(name, fold) if Path(name, fold).is_dir() else Path(name)


def weights_of(name: str, fold: str) -> dict[str, Path]:
    """What to compare when training goes on: the teacher's weights, where it is a directory."""
    for file in (AVERAGE, "model.safetensors"):
        if (path := directory_of(name, fold) / file).is_file():
            return {"teacher": path}
    return {}


def load_teacher(config: TrainConfig, directory: Path, tokenizer: Tokenizer) -> WhisperER:
    name, pad = config.distil.model, config.distil.pad
    if any((directory / file).is_file() for file in ("config.yaml", EXPORTED)):
        teacher = open_model(directory).model
    else:
        name = config.model.whisper_model if name == PRETRAINED else name
        if not name:
            raise UserError("distil.model=pretrained: this training starts from no pretrained model; name a teacher")
        text = Tokenizer(tokenizer.text, tokenizer.tasks[:1], tokenizer.token_type, tokenizer.language)
        try:
            teacher = build_model(TrainConfig(model=ModelConfig(whisper_model=name, pad=pad or PAD)), text)
        except UserError as error:  # of the options of a model that is trained
            raise UserError(f"distil.model={config.distil.model}: {error}") from None
    writes_text_first = isinstance(teacher, WhisperER) and teacher.tokenizer.tasks[0].kind == "text"
    if not writes_text_first or spelling(teacher.tokenizer) != spelling(tokenizer):
        raise UserError(
            f"distil.model={config.distil.model}: has no decoder that writes the tokens of this training first; give a "
            "Whisper of the same vocabulary, or an experiment with asr first and the same lang, whisper_model or bpe"
        )
    if pad:  # also of a model of ours
        teacher.audio_encoder.logmel.pad = PadRule.parse(pad, "distil.pad")
    return teacher


def spelling(tokenizer: Tokenizer) -> list[int | str]:
    """Size, prefix, end and some tokens of a base vocabulary; alike where the ids mean the same."""
    text = tokenizer.text
    ids = range(0, text.num_text, 1 + text.num_text // PROBES)
    return [text.size, text.end, *text.prefix, *(text.decode([index]) for index in ids)]


def further_speakers(exp_dir: Path, train: set[str], valid: set[str]) -> list[str]:
    """Those that the teacher's training had and `train` lacks. UserError where there are any and it also had speakers
    of these sets: it is then of the same corpus, and may know the test speakers."""
    known = heard(exp_dir)
    further = sorted(known - train)
    if further and known & (train | valid):
        raise UserError(
            f"distil.model: {exp_dir} was trained on {len(further)} speakers that this training set lacks, which may "
            f"be those of the test: {first_few(further)}; give the experiment of the same fold, or exp/<tag>, of which "
            "each fold takes its own"
        )
    return further
