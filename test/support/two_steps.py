"""Two training steps of each kind of model on the tiny corpus."""

import torch
from tiny_ssl import write_model

from whisper_er.base.settings import load
from whisper_er.config import TrainConfig
from whisper_er.data.utterances import read_utterances
from whisper_er.models.build import build_model
from whisper_er.text.tokenizer import Tokenizer, load_tokenizer
from whisper_er.text.vocabulary import NoText
from whisper_er.train.train_log import Sums
from whisper_er.train.trainer import Trainer

SYSTEMS = {"seq2seq": "token_list", "encoder_classifier": "label_list", "ssl": "label_list"}


def trained(corpus, tmp_path, system: str, *overrides: str) -> tuple[torch.Tensor, list[int]]:
    """All weights after two steps with dropout and SpecAugment, and the bytes that each step kept for its gradient."""
    options = ["model.specaug.time_masks=2", f"model.kind={system}"]
    tokenizer = load_tokenizer(corpus / SYSTEMS[system])
    if system == "ssl":
        write_model(tmp_path / "ssl", "wav2vec2", "base")
        options = ["model.kind=encoder_classifier", f"model.encoder_model={tmp_path / 'ssl'}"]
        options.append("model.whisper_sizes={}")
        tokenizer = Tokenizer(NoText(), tokenizer.tasks, "none", "en")
    config = load(TrainConfig, corpus / "train.yaml", [*options, *overrides])
    torch.manual_seed(1)
    trainer = Trainer(build_model(config, tokenizer).train(), tokenizer, config, tmp_path, torch.device("cpu"))
    steps, kept = trainer.steps(read_utterances(corpus / "train", tokenizer, "error")), []
    for _ in range(2):
        micro_batches, size = next(steps)
        kept.append(0)

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[-1] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.step(micro_batches, size, Sums(0))
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]), kept
