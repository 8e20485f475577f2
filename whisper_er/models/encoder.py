"""Whisper's encoder on inputs of any length, batch padding masked everywhere.

Axes: B utterances, S samples, N mel frames, F mel bins, T encoder frames (20 ms), D width.
"""

import torch
import torch.nn.functional as F
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from whisper_er.config import ModelConfig
from whisper_er.models.base import Stack
from whisper_er.models.features import HOP, LogMel, PadRule, RandomPad, inside, spec_augment


class AudioEncoder(torch.nn.Module):
    """Waveform -> log-mel -> transformers' Whisper encoder layers, without their fixed length of 30 s."""

    def __init__(self, encoder: WhisperEncoder, config: ModelConfig) -> None:
        super().__init__()
        self.encoder, self.specaug = encoder, config.specaug
        self.logmel = LogMel(encoder.config.num_mel_bins, PadRule.parse(config.pad))
        self.train_pad = RandomPad(config.train_pad) if config.train_pad else None
        encoder.embed_positions.requires_grad_(False)  # sinusoids, frozen in Whisper; from_pretrained thaws them
        self.config = encoder.config
        self.drawn: PadRule | None = None  # a rule that was drawn before the pass

    def forward(self, wave_BS: torch.Tensor, samples_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As Batch has them. Returns states_BTD and mask_BT (bool, True inside; None where nothing is padded)."""
        mel_BFN, frames_B = self.logmel(wave_BS, samples_B, self.drawn or self.draw_pad())
        if self.training:
            mel_BFN = spec_augment(mel_BFN, frames_B, self.specaug)
        return encode(self.encoder, mel_BFN, frames_B)

    def draw_pad(self) -> PadRule:
        """The pad rule of the next pass, drawn on the CPU where there are several."""
        return self.train_pad.draw() if self.training and self.train_pad else self.logmel.pad

    def real_frames(self, samples_B: torch.Tensor) -> torch.Tensor:
        """int64 (B,): see the function of this name."""
        return real_frames(samples_B)

    def stack(self) -> Stack:
        return Stack([self.encoder.conv1, self.encoder.conv2], self.encoder.layers, [self.encoder.layer_norm])


def real_frames(samples_B: torch.Tensor) -> torch.Tensor:
    """int64 (B,): encoder frames that hold an utterance's audio, without the silence of the pad rule."""
    return (samples_B + 2 * HOP - 1) // (2 * HOP)


def may_be_padded(frames_B: torch.Tensor, longest: int) -> bool:
    """Lengths on a GPU are not read."""
    return frames_B.device.type != "cpu" or bool((frames_B < longest).any())


def encode(
    encoder: WhisperEncoder, mel_BFN: torch.Tensor, frames_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run the encoder on features that are 0 after each utterance's end, as a convolution pads them.

    mel_BFN: float32; frames_B: int64, even, at most twice the encoder's positions. Returns states_BTD and mask_BT
    (bool, True inside; None where nothing is padded and frames_B is on the CPU).
    """
    # No mask in between: frames_B is even, so that conv2's last window within an utterance ends on its last frame.
    hidden_BDN = F.gelu(encoder.conv1(mel_BFN))
    hidden_BTD = F.gelu(encoder.conv2(hidden_BDN)).transpose(1, 2)
    hidden_BTD = hidden_BTD + encoder.embed_positions.weight[: hidden_BTD.shape[1]]
    hidden_BTD = F.dropout(hidden_BTD, encoder.dropout, encoder.conv2.training)  # not where that is frozen
    # No mask where nothing is padded: attention then takes its fast path.
    is_padded = may_be_padded(frames_B, mel_BFN.shape[2])
    mask_BT = inside(frames_B // 2, hidden_BTD.shape[1], mel_BFN.device) if is_padded else None
    mask_B11T = mask_BT[:, None, None, :] if is_padded else None
    for layer in encoder.layers:
        hidden_BTD = layer(hidden_BTD, mask_B11T)
    return encoder.layer_norm(hidden_BTD), mask_BT
