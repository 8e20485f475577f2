"""The interfaces of a model: what the trainer uses (Model), and what the recognizer uses (Predictor)."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from transformers import PreTrainedConfig

from whisper_er.base.errors import UserError
from whisper_er.batch import Batch
from whisper_er.config import DecodeConfig
from whisper_er.models.packed_linear import pack_linears
from whisper_er.task import Prediction
from whisper_er.text.tokenizer import Tokenizer


class Output(NamedTuple):  # FSDP finds the tensors in a tuple, not in a dataclass
    """What a forward pass returns. Axes: K tasks.

    loss:     nats, summed over the utterances of the batch; the trainer divides by those of the effective batch.
    nll_K:    nats per task, summed over tokens, detached; in training by a teacher its term of the loss behind them.
    count_K:  tokens per task; behind them the utterances that the teacher's term is of.
    """

    loss: torch.Tensor
    nll_K: torch.Tensor
    count_K: torch.Tensor


# States (B, T, D), and a mask (B, T) that is True inside the utterance, None where nothing is padded.
Encoded = tuple[torch.Tensor, torch.Tensor | None]


class Predictor(Protocol):
    """What recognition needs of a model, be it torch's or CTranslate2's.

    tokenizer: its tasks and their labels; max_target: longest decoder input, prefix included.
    """

    tokenizer: Tokenizer
    max_target: int

    @property
    def family(self) -> str:
        """The model family: whisper, wav2vec2, CTranslate2 ..."""
        ...

    def to(self, device: torch.device) -> Any:
        """Compute on this device from now on."""
        ...

    def pack(self) -> None:
        """Make predictions on a CPU in float32 faster; the model can then no longer be trained or saved."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Names and parameters, from which they are counted."""
        ...

    def check(self, config: DecodeConfig) -> None:
        """UserError for settings that the model does not support, as `predict` raises it."""
        ...

    def predict(self, batch: Batch, config: DecodeConfig) -> list[Prediction]:
        """Predictions in batch order; UserError for settings that the model does not support."""
        ...


class Stack(NamedTuple):
    """Layers that `freeze` may name. before: what makes the input of the first; after: what follows the last."""

    before: Sequence[torch.nn.Module]
    layers: Sequence[torch.nn.Module]
    after: Sequence[torch.nn.Module]


class Model(torch.nn.Module):
    """A Predictor that can be trained: batch in; loss or predictions out. For both, encode once and pass `encoded`.

    audio_encoder: waveforms and lengths -> Encoded.
    backbone_config: transformers' configuration of the model inside, from which `empty_model` makes it again.
    frozen: modules that keep their weights, and stay in eval mode: no dropout.
    saves_trained_only: the other weights are those of a pretrained model, to which adapters were added (adapt/lora.py).
    """

    audio_encoder: torch.nn.Module
    frozen: Sequence[torch.nn.Module] = ()
    saves_trained_only = False
    backbone_config: PreTrainedConfig
    tokenizer: Tokenizer
    max_target: int

    @property
    def family(self) -> str:
        return self.backbone_config.model_type

    def encode(self, batch: Batch) -> Encoded:
        return self.audio_encoder(batch.wave_BS, batch.samples_B)

    def units(self) -> Iterator[torch.nn.Module]:
        """Modules that are called in turn, inner ones first: FSDP gathers the weights of one at a time."""
        yield from self.audio_encoder.encoder.layers

    def stacks(self) -> dict[str, Stack]:
        """What `freeze` may name, and the layers in it."""
        return {"encoder": self.audio_encoder.stack()}

    def freeze(self, words: Sequence[str]) -> None:
        """Freeze what the words name, see TrainConfig.freeze. UserError for a word that names nothing here."""
        self.frozen = [module for word in words for module in self.named(word)]
        for module in self.frozen:
            module.requires_grad_(False).eval()

    def named(self, word: str) -> Sequence[torch.nn.Module]:
        """The modules of `encoder`, `encoder.layers.5` or `encoder.layers.0-3`."""
        stacks, match = self.stacks(), re.fullmatch(r"(\w+)(?:\.layers\.(\d{1,4})(?:-(\d{1,4}))?)?", word)
        if match and match[1] in stacks:
            before, layers, after = stacks[match[1]]
            if match[2] is None:
                return [*before, *layers, *after]
            first, last = int(match[2]), int(match[3] or match[2])
            if first <= last < len(layers):
                return [*(before if first == 0 else ()), *layers[first : last + 1]]
        allowed = " ".join(f"{name} {name}.layers.0-{len(stack.layers) - 1}" for name, stack in stacks.items())
        raise UserError(
            f"freeze: this {self.family} model has no '{word[:40]}'; allowed: {allowed}, or fewer layers, such as "
            "encoder.layers.0-1 or encoder.layers.1"
        )

    def train(self, mode: bool = True) -> "Model":
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        """The loss of a batch on the model's device."""
        raise NotImplementedError

    def pack(self) -> None:
        pack_linears(self)

    def release(self) -> None:
        """Give back the memory of the device that is kept from one prediction to the next."""

    def check(self, config: DecodeConfig) -> None:
        self.tokenizer.check_language(config.lang)

    def answer(self, batch: Batch, config: DecodeConfig, encoded: Encoded | None = None) -> Any:
        """Tensors from which `read` makes predictions, still on the device; each model chooses their form."""
        raise NotImplementedError

    def read(self, utt_ids: list[str], answers: Any, config: DecodeConfig) -> list[Prediction]:
        """Predictions from answers; waits for the device. utt_ids: of the batch."""
        raise NotImplementedError

    def given(self, batch: Batch, encoded: Encoded | None = None) -> list[Prediction]:
        """Each task's answer given the references of the tasks before it, which are those of the batch."""
        raise NotImplementedError

    @torch.no_grad()
    def predict(self, batch: Batch, config: DecodeConfig, encoded: Encoded | None = None) -> list[Prediction]:
        return self.read(batch.utt_ids, self.answer(batch, config, encoded), config)
