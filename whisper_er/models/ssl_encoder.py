"""wav2vec 2.0, HuBERT and WavLM as encoders of the conventional method, on transformers' modules.

Axes: B utterances, S samples, T encoder frames (20 ms), C channels, D width.
"""

import torch
from transformers import PreTrainedModel

from whisper_er.models.base import Stack
from whisper_er.models.features import PadRule, to_float

SSL_TYPES = ("wav2vec2", "hubert", "wavlm")
VARIANCE_FLOOR = 1e-7  # of transformers' feature extractor


class SslEncoder(torch.nn.Module):
    """Waveform -> convolutions -> transformer layers; an utterance's states do not depend on its batch.

    The convolutions stay as they are, as in the fine-tuning of wav2vec 2.0 (Baevski et al., 2020); the rest is trained.
    The time masks that transformers' configurations ask for in training are not drawn.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.convolutions, self.projection = model.feature_extractor, model.feature_projection
        self.encoder, self.config = model.encoder, model.config
        self.convolutions.requires_grad_(False)
        self.drawn: PadRule | None = None  # of no meaning here, where nothing is padded

    def draw_pad(self) -> PadRule:
        return PadRule()

    def forward(self, wave_BS: torch.Tensor, samples_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns states_BTD and mask_BT (bool, True inside the utterance)."""
        wave_BS, samples_B = to_float(wave_BS), samples_B.to(wave_BS.device, non_blocking=True)
        if self.config.do_normalize:
            wave_BS = normalize(wave_BS, samples_B)
        missing = self.frames_to_samples(1) - wave_BS.shape[1]
        with torch.no_grad():
            features_BCT, frames_B = self.convolve(torch.nn.functional.pad(wave_BS, (0, max(0, missing))), samples_B)
        projected = self.projection(features_BCT.transpose(1, 2))
        hidden_BTD = projected if isinstance(projected, torch.Tensor) else projected[0]
        mask_BT = torch.arange(hidden_BTD.shape[1], device=wave_BS.device) < frames_B[:, None]
        return self.encoder(hidden_BTD, attention_mask=mask_BT).last_hidden_state, mask_BT

    def real_frames(self, samples_B: torch.Tensor) -> torch.Tensor:
        """int64 (B,): encoder frames of each utterance; one shorter than a frame is filled up with zeros."""
        frames_B = samples_B.clamp(min=self.frames_to_samples(1))
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride):
            frames_B = (frames_B - kernel) // stride + 1
        return frames_B

    def frames_to_samples(self, frames: int) -> int:
        """Samples that this number of encoder frames covers."""
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride)):
            frames = (frames - 1) * stride + kernel
        return frames

    def stack(self) -> Stack:
        norm, norm_is_last = self.encoder.layer_norm, self.config.do_stable_layer_norm
        before = [self.projection, self.encoder.pos_conv_embed, *([] if norm_is_last else [norm]), self.encoder.dropout]
        return Stack(before, self.encoder.layers, [norm] if norm_is_last else [])

    def convolve(self, wave_BS: torch.Tensor, samples_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, C, T) and frames_B. The base models normalise each channel over time: padding must not count."""
        hidden, length_B = wave_BS[:, None], samples_B.clamp(min=self.frames_to_samples(1))
        for layer, kernel, stride in zip(
            self.convolutions.conv_layers, self.config.conv_kernel, self.config.conv_stride
        ):
            length_B = (length_B - kernel) // stride + 1
            if isinstance(getattr(layer, "layer_norm", None), torch.nn.GroupNorm):
                hidden = layer.activation(masked_norm(layer.conv(hidden), length_B, layer.layer_norm))
            else:
                hidden = layer(hidden)
        return hidden, length_B


def normalize(wave_BS: torch.Tensor, samples_B: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance over an utterance's own samples; zeros after its end."""
    mean_B1, variance_B1, inside_BS = moments(wave_BS, samples_B)
    return (wave_BS - mean_B1) / (variance_B1 + VARIANCE_FLOOR).sqrt() * inside_BS


def masked_norm(hidden_BCT: torch.Tensor, length_B: torch.Tensor, norm: torch.nn.GroupNorm) -> torch.Tensor:
    """GroupNorm with a group per channel, its moments over each utterance's own frames."""
    mean_BC1, variance_BC1, _ = moments(hidden_BCT.float(), length_B)
    normed_BCT = (hidden_BCT - mean_BC1) / (variance_BC1 + norm.eps).sqrt()
    return (normed_BCT * norm.weight[:, None] + norm.bias[:, None]).to(hidden_BCT.dtype)


def moments(values: torch.Tensor, length_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and population variance over the first length_B positions of the last axis, and the mask of these."""
    shape = (-1, *[1] * (values.dim() - 1))
    length, inside = length_B.view(shape), torch.arange(values.shape[-1], device=values.device) < length_B.view(shape)
    mean = (values * inside).sum(-1, keepdim=True) / length
    variance = ((values - mean) ** 2 * inside).sum(-1, keepdim=True) / length
    return mean, variance, inside
