"""Whisper's log-mel front end for any length of audio, with the pad rule and SpecAugment.

Axes: B utterances, S samples, N mel frames (10 ms), F mel bins.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers.audio_utils import mel_filter_bank

from whisper_er.base.errors import UserError
from whisper_er.config import MAX_SAMPLES, MAX_SECONDS, PAD_RULE, SAMPLE_RATE, SpecAugmentConfig
from whisper_er.graphs.shapes import SAMPLES, next_size

N_FFT = 400
HOP = 160  # samples per mel frame
MAX_FRAMES = MAX_SAMPLES // HOP


@dataclass(frozen=True)
class PadRule:
    """The silence appended to an utterance: a function of the utterance alone, whatever its batch.

    extra: samples appended; least: length in samples to which shorter utterances are filled.
    """

    extra: int = 0
    least: int = 0

    @staticmethod
    def parse(rule: str, setting: str = "pad") -> "PadRule":
        """Read `none`, `+<seconds>`, `to <seconds>` or `30s`; UserError, which names the setting, for others."""
        if rule == "none":
            return PadRule()
        if rule == "30s":
            return PadRule(least=MAX_SAMPLES)
        match = PAD_RULE.fullmatch(rule)
        if not match or float(match[2]) > MAX_SECONDS:
            raise UserError(
                f"{setting}: '{rule}' is not allowed; allowed: none, +<seconds>, to <seconds> (at most 30), 30s"
            )
        samples = round(float(match[2]) * SAMPLE_RATE)
        return PadRule(extra=samples) if match[1] == "+" else PadRule(least=samples)

    def frames(self, samples_B: torch.Tensor) -> torch.Tensor:
        """int64 (B,), mel frames: even, so that the encoder's stride of 2 divides them, and at most MAX_FRAMES."""
        padded_B = (samples_B + self.extra).clamp(min=max(self.least, 1), max=MAX_SAMPLES)
        return (padded_B + 2 * HOP - 1) // (2 * HOP) * 2

    def round_up(self, samples: int) -> int:
        """Samples to fill a batch of this length up to: the encoder then reads inputs of few lengths."""
        read = max(next_size(samples + self.extra, *SAMPLES), self.least)
        return read - self.extra if read <= MAX_SAMPLES else max(samples, MAX_SAMPLES)


class RandomPad:
    """Pad rules of which every training batch draws one; shares: rule -> its share of the batches."""

    def __init__(self, shares: dict[str, float]) -> None:
        self.rules = [PadRule.parse(rule, "train_pad") for rule in shares]
        self.shares = list(shares.values())

    def draw(self) -> PadRule:
        """From torch's generator on the CPU, which the trainer seeds for each step, and for each process apart: those
        of one step may draw different rules, and then wait for the longest input."""
        return self.rules[int(torch.multinomial(torch.tensor(self.shares, device="cpu"), 1))]


def to_float(wave_BS: torch.Tensor) -> torch.Tensor:
    """float32: int16 samples in [-1, 1]; floats as they are."""
    return wave_BS.float() / 2**15 if wave_BS.dtype == torch.int16 else wave_BS.float()


class LogMel(torch.nn.Module):
    """Waveform -> log-mel features, equal to the first frames of Whisper's own on audio filled up to 30 s."""

    def __init__(self, num_mel_bins: int, pad: PadRule) -> None:
        super().__init__()
        self.pad = pad
        filters = mel_filter_bank(
            num_frequency_bins=1 + N_FFT // 2,
            num_mel_filters=num_mel_bins,
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    @torch.no_grad()
    def forward(
        self, wave_BS: torch.Tensor, samples_B: torch.Tensor, pad: PadRule | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """wave_BS and samples_B as in Batch; pad: instead of its own rule. Returns mel_BFN (float32; 0 after an
        utterance's end, as the convolutions want it) and frames_B (int64, where samples_B is)."""
        pad = pad or self.pad
        frames_B, longest = pad.frames(samples_B), int(pad.frames(torch.tensor(wave_BS.shape[1], device="cpu")))
        # Two frames past the end still see the last samples and count towards the maximum, as they do in Whisper.
        num_computed = min(longest + 2, MAX_FRAMES)
        wave_BS = F.pad(to_float(wave_BS), (0, max(0, num_computed * HOP - wave_BS.shape[1])))
        left = wave_BS[:, 1 : N_FFT // 2 + 1].flip(1)  # Whisper reflects at the start; at 30 s its end reflects too
        right = torch.zeros_like(left)
        if num_computed == MAX_FRAMES:
            right = wave_BS[:, MAX_SAMPLES - N_FFT // 2 - 1 : MAX_SAMPLES - 1].flip(1)
        wave_BS = torch.cat([left, wave_BS[:, : num_computed * HOP], right], dim=1)
        with torch.autocast(wave_BS.device.type, enabled=False):
            spectrum = torch.stft(wave_BS, N_FFT, HOP, window=self.window, center=False, return_complex=True)
            power_BPN = spectrum[..., :num_computed].abs() ** 2
            mel_BFN = (self.filters.T @ power_BPN).clamp(min=1e-10).log10()
        mel_BFN = torch.maximum(mel_BFN, mel_BFN.amax(dim=(1, 2), keepdim=True) - 8.0)
        mel_BFN = (mel_BFN[..., :longest] + 4.0) / 4.0
        return mel_BFN * inside(frames_B, longest, wave_BS.device)[:, None], frames_B


def inside(length_B: torch.Tensor, longest: int, device: torch.device) -> torch.Tensor:
    """bool (B, longest) on the device: True up to each length."""
    return torch.arange(longest, device=device) < length_B.to(device, non_blocking=True)[:, None]


def spec_augment(mel_BFN: torch.Tensor, frames_B: torch.Tensor, config: SpecAugmentConfig) -> torch.Tensor:
    """mel_BFN with random bands set to the utterance's mean (0 is not silence in Whisper's scale); frames_B: int64."""
    if not (config.time_masks or config.freq_masks):
        return mel_BFN
    num_bins, longest = mel_BFN.shape[1:]
    frames_B = frames_B.to(mel_BFN.device, non_blocking=True)
    mean_B11 = (mel_BFN.sum((1, 2)) / (frames_B * num_bins))[:, None, None]
    bins = torch.full_like(frames_B, num_bins)
    time_BN = random_bands(frames_B, (frames_B * config.time_width).floor(), longest, config.time_masks)
    freq_BF = random_bands(bins, bins.clamp(max=config.freq_width), num_bins, config.freq_masks)
    inside_BN = inside(frames_B, longest, mel_BFN.device)
    masked = (time_BN[:, None, :] | freq_BF[:, :, None]) & inside_BN[:, None, :]
    return torch.where(masked, mean_B11, mel_BFN)


def random_bands(length_B: torch.Tensor, widest_B: torch.Tensor, size: int, count: int) -> torch.Tensor:
    """bool (B, size): `count` bands per row, width uniform in [0, widest], start uniform within the length."""
    shape = (len(length_B), count)
    width = torch.rand(shape, device=length_B.device) * (widest_B[:, None] + 1)
    start = torch.rand(shape, device=length_B.device) * (length_B[:, None] - width).clamp(min=0)
    start, width = start.floor()[..., None], width.floor()[..., None]
    position = torch.arange(size, device=length_B.device)
    return ((position >= start) & (position < start + width)).any(1)
