"""A corpus of short synthetic sounds, its token list and a model so small that a training step takes milliseconds."""

import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import soundfile
import yaml

from whisper_er.bin import average, token_list, train
from whisper_er.data import kaldi

SIZES = {"train": 11, "valid": 3, "test": 4}  # 11: no batch size that the tests use divides it
TEXTS = ["one two", "", "two three one", "three", "one one two three"]
TASKS = "asr gender emotion"
MODEL = {
    "whisper_sizes": {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_mel_bins": 80, "dropout": 0.1,
        "max_target_positions": 40,
    }
}  # fmt: skip
TRAIN = {
    "model": MODEL, "optim": {"lr": 1e-3}, "max_steps": 10, "valid_interval": 4, "n_best": 2, "batch_size": 4,
    "num_workers": 0, "log_interval": 3, "save_interval": 0,
}  # fmt: skip


def write_corpus(root: Path) -> Path:
    """Write root/{train,valid,test}, root/token_list, root/label_list (no asr), root/{train,decode}.yaml; returns root.

    Every second transcript or so is empty and every third utterance has no gender: both are allowed.
    """
    random = np.random.default_rng(0)
    (root / "wav").mkdir(parents=True)
    for name, size in SIZES.items():
        utt_ids = [f"{name}-{index:02d}" for index in range(size)]
        num_samples = {utt_id: int(random.integers(4000, 14000)) for utt_id in utt_ids}
        for utt_id in utt_ids:
            write_wav(root / "wav" / f"{utt_id}.wav", num_samples[utt_id], random)
        data = {
            "wav.scp": {utt_id: str(root / "wav" / f"{utt_id}.wav") for utt_id in utt_ids},
            "text": {utt_id: TEXTS[index % 5] for index, utt_id in enumerate(utt_ids)},
            "utt2spk": {utt_id: f"{name}-speaker" for utt_id in utt_ids},
            "utt2gender": {utt_id: ["male", "female", ""][index % 3] for index, utt_id in enumerate(utt_ids)},
            "utt2emotion": {utt_id: ["sad", "happy"][index % 2] for index, utt_id in enumerate(utt_ids)},
            "utt2num_samples": {utt_id: str(number) for utt_id, number in num_samples.items()},
        }
        kaldi.write_dir(root / name, data)
    (root / "train.yaml").write_text(yaml.safe_dump(TRAIN))
    (root / "decode.yaml").write_text(yaml.safe_dump({"beam_size": 2, "num_workers": 0}))
    call(token_list, *token_list_arguments(root))
    call(token_list, *token_list_arguments(root, "--tasks", "gender emotion", "--out_dir", root / "label_list"))
    return root


def write_scale_and_votes(root: Path) -> None:
    """Add utt2valence and utt2emotion_votes, and the token lists root/scale and, without asr, root/scale_labels."""
    for name, size in SIZES.items():
        utt_ids = [f"{name}-{index:02d}" for index in range(size)]
        votes, scale = ["sad:1 happy:2", "sad:3"], [str(1 + index % 5) for index in range(size)]
        kaldi.write_table(root / name / "utt2emotion_votes", {utt_ids[i]: votes[i % 2] for i in range(size)})
        kaldi.write_table(root / name / "utt2valence", dict(zip(utt_ids, scale)))
    for directory, tasks in (("scale", TASKS), ("scale_labels", "gender emotion")):
        more = ["--tasks", f"{tasks} valence", "--scales", "valence=1:5:5", "--out_dir", root / directory]
        call(token_list, *token_list_arguments(root, *more))


def write_wav(path: Path, num_samples: int, random: np.random.Generator) -> None:
    """A tone in noise, 16 kHz mono."""
    tone = np.sin(np.arange(num_samples) * random.uniform(0.05, 0.5))
    soundfile.write(path, 0.3 * tone + random.normal(0, 0.02, num_samples), 16000, subtype="PCM_16")


def change(directory: Path, table: str, **values: str) -> None:
    """Overwrite entries of a table; `_` in a keyword stands for `-` in the id."""
    new = {key.replace("_", "-"): value for key, value in values.items()}
    kaldi.write_table(directory / table, kaldi.read_table(directory / table) | new)


def token_list_arguments(root: Path, *more: object) -> list[object]:
    where = ["--train_set", root / "train", "--out_dir", root / "token_list"]
    return [*where, "--tasks", TASKS, "--token_type", "bpe", "--bpe_size", 16, *more]


def train_arguments(root: Path, exp_dir: Path, *more: object) -> list[object]:
    where = ["--train_set", root / "train", "--valid_set", root / "valid", "--token_list", root / "token_list"]
    return ["--config", root / "train.yaml", *where, "--exp_dir", exp_dir, *more]


def decode_arguments(root: Path, exp_dir: Path, out_dir: Path, *more: object) -> list[object]:
    where = ["--exp_dir", exp_dir, "--data_dir", root / "test", "--out_dir", out_dir]
    return ["--config", root / "decode.yaml", *where, *more]


def train_and_average(root: Path, exp_dir: Path, *more: object) -> Path:
    call(train, *train_arguments(root, exp_dir, *more))
    call(average, "--exp_dir", exp_dir)
    return exp_dir


def call(entry_point: ModuleType, *arguments: object) -> None:
    """Run an entry point's main in this process; its errors come back as exceptions."""
    with mock.patch.object(sys, "argv", [entry_point.__name__, *map(str, arguments)]):
        entry_point.main()
