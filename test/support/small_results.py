"""Experiments for the reports: scored, never trained, with sounds that are tones."""

import io
import json
from pathlib import Path

import numpy as np
import soundfile

from whisper_er.audio.writer import AudioWriter
from whisper_er.data.kaldi import write_table
from whisper_er.score.pairing import Pairs, TaskPairs
from whisper_er.score.results import RESULT, SetResult, collect
from whisper_er.score.scoring import score_pairs, write_score
from whisper_er.task import Task

LABELS = ("angry", "happy", "sad")
ASR, GENDER = Task("asr", "text"), Task("gender", "category", ("female", "male"))
EMOTION = Task("emotion", "category", LABELS)
ABOUT = {
    "protocol": "trained on 9 utterances of 3 speakers; tested on others",
    "decoding": {"beam_size": 4},
    "training": {"command": ["train.py", "lr=1 e"]},
    "text_normalizer": {"language": "en", "spellings": 0},
}
SECONDS = 0.4


def pairs_of(
    emotion: list[tuple[str, str, float]], prefix: str = "u", words: tuple[str, str] = ("one two", "one three")
) -> Pairs:
    """An utterance per (reference, hypothesis, its probability); of every second one the words are misheard."""
    ids = tuple(f"{prefix}{i:02d}" for i in range(len(emotion)))
    ref, hyp, sure = zip(*emotion)
    posterior = tuple({label: p if label == own else (1 - p) / 2 for label in LABELS} for own, p in zip(hyp, sure))
    said = tuple(words[0] for _ in ids)
    heard = tuple(words[i % 2] for i in range(len(ids)))
    gender = tuple(GENDER.labels[i % 2] for i in range(len(ids)))
    return Pairs(
        ids, tuple(f"{prefix}-speaker{i % 2}" for i in range(len(ids))),
        {"style": tuple(("improvised", "scripted")[i % 2] for i in range(len(ids)))},
        {"asr": TaskPairs(said, heard, said, heard), "gender": TaskPairs(gender, gender),
         "emotion": TaskPairs(ref, hyp, posterior=posterior)},
    )  # fmt: skip


def write_fold(
    exp_dir: Path, fold: str, pairs: Pairs, data_dir: Path | None, tasks=(ASR, GENDER, EMOTION), steps: int = 3
) -> None:
    """What stages 3 and 6 leave of a fold, as far as the reports read it."""
    about = ABOUT | ({"ref_dir": str(data_dir)} if data_dir else {})
    write_score(
        exp_dir / f"fold{fold}" / "decode_x" / "test" / RESULT, about | score_pairs(tasks, pairs).to_json(), pairs
    )
    lines = []
    for step in range(1, steps + 1):
        losses = {f"loss_{task.name}": 3 / step for task in tasks}
        accuracies = {f"accuracy_{task.name}": 1 - 1 / step for task in tasks}
        lines += [
            {"step": step, "train": {"loss": 9 / step, **losses}},
            {"step": step, "valid": {"loss": 9.5 / step, **accuracies}},
        ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (exp_dir / f"fold{fold}" / "metrics.jsonl").write_text(content, encoding="utf-8")


def write_sounds(data_dir: Path, pairs: Pairs, audio_format: str = "wav") -> Path:
    """wav.scp and a tone per utterance; returns the directory."""
    (data_dir / "wav").mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(np.arange(int(SECONDS * 16000)) * 0.2).astype(np.float32)
    with AudioWriter(data_dir / "wav", data_dir / "wav", audio_format, "all") as writer:
        write_table(data_dir / "wav.scp", {utt_id: writer.write(utt_id, tone) for utt_id in pairs.utt_ids})
    return data_dir


def seconds_of(mp3: bytes) -> float:
    return soundfile.info(io.BytesIO(mp3)).duration


TWO_FOLDS = {
    "1": [("sad", "sad", 0.9), ("sad", "happy", 0.6), ("happy", "happy", 0.5), ("", "sad", 0.7)],
    "2": [("angry", "sad", 0.95), ("sad", "sad", 0.4), ("angry", "angry", 0.8), ("happy", "sad", 0.5)],
}
ERRORS_FIRST = ["b00", "a01", "b03", "b01", "a02", "b02", "a00", "a03"]  # of these, a00 and so on in fold 1


def write_two_folds(root: Path, audio_format: str = "wav", name: str = "ser") -> Path:
    """root/exp/<name> with two folds and root/dump/fold<k> with sounds; returns the experiment."""
    for fold, prefix in (("1", "a"), ("2", "b")):
        pairs = pairs_of(TWO_FOLDS[fold], prefix)
        write_fold(root / "exp" / name, fold, pairs, write_sounds(root / "dump" / f"fold{fold}", pairs, audio_format))
    return root / "exp" / name


def read_two_folds(exp_dir: Path) -> SetResult:
    (result,) = collect(exp_dir, ["1", "2"], "test", "x")
    return result


# What a page could be broken with.
NAMES = ["<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "<!--", "]]>", "a'\"b", "&lt;b&gt;",
         "\u2028\u202eabc", "${x}`y`"]  # fmt: skip
