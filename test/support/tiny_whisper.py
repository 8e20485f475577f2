"""Tokenizers, models and batches so small that a test takes milliseconds; all weights random, no download.

The initial weights are wide (init_std), so that logits differ by more than rounding and a wrong mask shows.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

from whisper_er.batch import Batch
from whisper_er.config import SAMPLE_RATE, ModelConfig, TrainConfig
from whisper_er.data.collate import collate
from whisper_er.data.utterances import Utterance
from whisper_er.models.base import Model
from whisper_er.models.build import build_model
from whisper_er.models.decoder import cross_attention_inputs, decode
from whisper_er.models.seq2seq import WhisperER
from whisper_er.task import Task
from whisper_er.text.tokenizer import Tokenizer
from whisper_er.text.whisper_vocabulary import from_whisper

ASR = Task("asr", "text")
GENDER = Task("gender", "category", ("female", "male"))
EMOTION = Task("emotion", "category", ("angry", "happy", "sad"))
TASKS = {task.name: task for task in (ASR, GENDER, EMOTION)}
ORDERS = ["asr gender emotion", "gender emotion asr", "gender asr emotion"]

# A vocabulary that fits on a hand: three text tokens, <|endoftext|>, <|startoftranscript|>.
THREE_WORDS = SimpleNamespace(prefix=[4], end=3, num_text=3, size=5, find=lambda token: None)

SENTENCES = ["really good .", "good day", "a really sad day", "not good at all", "they named <|happy|> a token"]
SIZES = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "max_target_positions": 64,
    "dropout": 0.0,
    "init_std": 0.3,
}
WHISPER_SPECIAL = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]


def tasks_of(order: str) -> list[Task]:
    return [TASKS[name] for name in order.split()]


def whisper_tokenizer() -> WhisperTokenizer:
    """Whisper's kind of vocabulary: bytes, a few merges, <|endoftext|>, the other special tokens, timestamps."""
    merges = [("a", "p"), ("ap", "p"), ("Ġ", "h"), ("Ġ", "g"), ("o", "o"), ("Ġg", "oo"), ("Ġgoo", "d")]
    pieces = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    tokenizer = WhisperTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges)
    tokenizer.add_special_tokens({"extra_special_tokens": WHISPER_SPECIAL})
    tokenizer.add_tokens([f"<|{0.02 * index:.2f}|>" for index in range(3)])
    return tokenizer


def write_whisper(directory: Path) -> None:
    """A directory that `whisper_model` may name: tokenizer, configuration, random weights."""
    tokenizer = whisper_tokenizer()
    vocabulary = tokenizer.get_vocab()
    special = dict.fromkeys(["pad_token_id", "bos_token_id", "eos_token_id"], vocabulary["<|endoftext|>"])
    start = vocabulary["<|startoftranscript|>"]
    config = WhisperConfig(**SIZES, **special, decoder_start_token_id=start, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    WhisperForConditionalGeneration(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@torch.no_grad()
def teach_to_end(directory: Path) -> None:
    """Change what write_whisper wrote, which says one byte for ever: it says letters, not the same at each place, and
    may end; its generation config suppresses all else, and some words in front."""
    model, text = WhisperForConditionalGeneration.from_pretrained(directory), from_whisper(str(directory), "en")
    torch.manual_seed(1)
    decoder = model.model.decoder
    torch.nn.init.normal_(decoder.embed_positions.weight, std=2.0)
    torch.nn.init.normal_(decoder.embed_tokens.weight[text.end], std=0.3)
    decoder.layer_norm.bias.copy_(1.5 * decoder.embed_tokens.weight[text.end])
    model.save_pretrained(directory)
    letters = {text.find(letter) for letter in "abcdefghijklmnopqrstuvwxyzĠ"}
    others = [index for index in range(text.size) if index not in letters and index != text.end]
    lists = {"suppress_tokens": others, "begin_suppress_tokens": [text.end, text.find("s")], "is_multilingual": True}
    (directory / "generation_config.json").write_text(json.dumps(lists))


def tiny_model(tokenizer: Tokenizer, seed: int = 0, sizes: dict | None = None, **options) -> Model:
    """A model from scratch; the rows of the added tokens differ, so that posteriors do."""
    torch.manual_seed(seed)
    config = ModelConfig(whisper_sizes={**SIZES, **(sizes or {})}, new_token_init="random", **options)
    return build_model(TrainConfig(model=config), tokenizer).eval()


def sound(num_samples: int, seed: int) -> np.ndarray:
    """A tone in noise that grows louder towards its end, float32."""
    random = np.random.default_rng(seed)
    tone = np.sin(np.arange(num_samples) * random.uniform(0.05, 0.5)) + 0.3 * random.standard_normal(num_samples)
    return (tone * np.linspace(0.02, 0.3, num_samples)).astype(np.float32)


def write_utterances(directory: Path, seconds: Sequence[float], values: Sequence[dict[str, str]]) -> list[Utterance]:
    """One float wav file per utterance."""
    utterances = []
    for index, (length, value) in enumerate(zip(seconds, values, strict=True)):
        path, num_samples = directory / f"u{index}.wav", round(length * SAMPLE_RATE)
        soundfile.write(path, sound(num_samples, index), SAMPLE_RATE, subtype="FLOAT")
        utterances.append(Utterance(f"u{index}", str(path), num_samples, value))
    return utterances


def batch_of(utterances: Sequence[Utterance], tokenizer: Tokenizer) -> Batch:
    return collate(utterances, tokenizer, SIZES["max_target_positions"])


@torch.no_grad()
def logits_of(model: WhisperER, batch: Batch) -> torch.Tensor:
    """(B, L, V): what the model says after each token of `input_BL`."""
    states_BTD, mask_BT = model.audio_encoder(batch.wave_BS, batch.samples_B)
    hidden_BLD, _ = decode(model.decoder, batch.input_BL, cross_attention_inputs(model.decoder, states_BTD, mask_BT))
    return model.logits(hidden_BLD)
