"""A small model from scratch learns emotion and words from sound, and knows them from voices that it has never heard.

The corpus is made of vowels: a word is a pair of formants, a voice a pitch and a factor on the formants, an emotion how
fast, how bright and how hoarse a word is spoken.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_experiment import call, decode_arguments, train_and_average

from whisper_er.bin import decode, score, token_list
from whisper_er.data import kaldi

VOWELS = {"ah": (700, 1200), "ee": (300, 2300), "oo": (320, 800)}  # Hz
STYLES = {"angry": (0.12, 0.0, 1.0), "happy": (0.12, 0.0, 0.0), "neutral": (0.2, 1.0, 0.0), "sad": (0.3, 2.5, 0.0)}
VOICES = {"train": 8, "valid": 2, "test": 6}  # of either gender in turn
UTTERANCES = {"train": 40, "valid": 16, "test": 16}  # of a voice
SIZES = {
    "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 192, "decoder_ffn_dim": 192, "num_mel_bins": 80, "dropout": 0.0,
}  # fmt: skip
TRAIN = {
    "model": {"whisper_sizes": SIZES}, "optim": {"lr": 2e-3, "warmup_steps": 20, "grad_clip": 1.0}, "max_steps": 280,
    "valid_interval": 70, "n_best": 1, "batch_size": 32, "num_workers": 0, "seed": 1,
}  # fmt: skip


def vowel(word: str, pitch: float, formants: float, emotion: str, random: np.random.Generator) -> np.ndarray:
    """Harmonics under two resonances, (samples,) at 16 kHz, and a short pause."""
    seconds, tilt, noise = STYLES[emotion]
    time_N = np.arange(int(seconds * 16000)) / 16000
    number_H1 = np.arange(1, 25)[:, None]
    hertz_HN = number_H1 * pitch * (1 + 0.03 * np.sin(2 * np.pi * 5 * time_N))
    gain_HN = sum(1 / (1 + ((hertz_HN - centre * formants) / 120) ** 2) for centre in VOWELS[word])
    gain_HN = gain_HN / number_H1**tilt * (hertz_HN < 7500)
    sound_N = (gain_HN * np.sin(np.cumsum(2 * np.pi * hertz_HN / 16000, axis=1))).sum(0)
    sound_N = sound_N / sound_N.std() + random.normal(0, noise, len(time_N))
    return np.concatenate([sound_N * np.hanning(len(time_N)) ** 0.3, np.zeros(400)])


def write_set(root: Path, name: str, random: np.random.Generator) -> None:
    """Every voice says one to three words in each style in turn."""
    names = ("wav.scp", "text", "utt2spk", "utt2emotion", "utt2num_samples")
    tables: kaldi.DataDir = {table: {} for table in names}
    for voice in range(VOICES[name]):
        female = voice % 2
        pitch = random.uniform(90, 130) * (1.8 if female else 1)
        formants = random.uniform(0.95, 1.05) * (1.15 if female else 1)
        says = {(word, emotion): vowel(word, pitch, formants, emotion, random) for word in VOWELS for emotion in STYLES}
        for number in range(UTTERANCES[name]):
            utt_id, emotion = f"{name}{voice}_{number:02d}", list(STYLES)[number % len(STYLES)]
            words = random.choice(list(VOWELS), random.integers(1, 4))
            sound_N = 0.05 * random.uniform(0.7, 1.3) * np.concatenate([says[word, emotion] for word in words])
            path = root / f"{utt_id}.wav"
            soundfile.write(path, sound_N + random.normal(0, 0.001, len(sound_N)), 16000)
            values = (str(path), " ".join(words), f"{name}{voice}", emotion, str(len(sound_N)))
            for table, value in zip(names, values):
                tables[table][utt_id] = value
    kaldi.write_dir(root / name, tables)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root, random = tmp_path_factory.mktemp("learning"), np.random.default_rng(TRAIN["seed"])
    for name in VOICES:
        write_set(root, name, random)
    (root / "train.yaml").write_text(yaml.safe_dump(TRAIN))
    (root / "decode.yaml").write_text(yaml.safe_dump({"beam_size": 1, "num_workers": 0}))
    call(token_list, "--train_set", root / "train", "--tasks", "emotion asr", "--token_type", "bpe", "--bpe_size", 12,
         "--out_dir", root / "token_list")  # fmt: skip
    return root


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scores(root: Path, name: str, *overrides: str) -> tuple[float, float]:
    """UA of the emotion and WER on the unseen voices, of what is trained with the overrides."""
    exp, hyp = train_and_average(root, root / name, *overrides), root / name / "decode"
    call(decode, *decode_arguments(root, exp, hyp))
    call(score, "--ref_dir", root / "test", "--hyp_dir", hyp, "--tasks", "emotion asr", "--exp_dir", exp, "--out",
         hyp / "score/result.json")  # fmt: skip
    tasks = json.loads((hyp / "score/result.json").read_text())["tasks"]
    return tasks["emotion"]["ua"], tasks["asr"]["wer"]


# Measured with the seeds 1 to 5 (corpus, weights and batches): UA 1.00, 0.97, 1.00, 0.89, 1.00, WER 0.11, 0.09, 0.08,
# 0.16, 0.12; untrained UA 0.25, WER 0.95 and more. A model that ignores the sound gets 0.25. On another machine one
# thread came to WER 0.34 and two, whose sums have another order, to 0.47: so it is one.
def test_what_has_learned_knows_emotion_and_words_of_unseen_voices_and_what_has_not_does_not(root, one_thread):
    ua, wer = scores(root, "trained")
    assert ua > 0.7 and wer < 0.4
    ua, wer = scores(root, "untrained", "max_steps=0")
    assert ua < 0.4 and wer > 0.8
