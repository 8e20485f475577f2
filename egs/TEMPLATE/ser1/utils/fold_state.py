"""How far the training and decoding of one fold are, as its files say."""

from pathlib import Path

from whisper_er.score.results import RESULT
from whisper_er.train.experiment import STATE, ended


def fold_state(fold_dir: Path, hypotheses: Path) -> str:
    """hypotheses: the directory in fold_dir that decoding writes, such as decode_default/test."""
    if (fold_dir / hypotheses / RESULT).is_file():
        return "scored"
    if (fold_dir / hypotheses).is_dir():
        return "decoded"
    if (fold_dir / "ave.safetensors").is_file():
        return "averaged"
    if ended(fold_dir):
        return "trained"
    return "in training" if (fold_dir / STATE).is_file() else "to do"
