"""Real recordings and whole pretrained Whispers, from the directory that WHISPER_ER_ASSETS names."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

ASSETS = os.environ.get("WHISPER_ER_ASSETS", "")


def recordings(corpus: str, *utt_ids: str) -> list[dict[str, str]]:
    """Lines of a corpus's manifest, in the order of the ids: id, audio (whole path), text, speaker, emotion ..."""
    directory = Path(ASSETS) / "corpora" / corpus
    lines = map(json.loads, (directory / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    by_id = {line["id"]: line | {"audio": str(directory / line["audio"])} for line in lines}
    return [by_id[utt_id] for utt_id in utt_ids]


def write_whole_whisper(kind: str, directory: Path, lock: Path) -> str:
    """Write whisper-base or whisper-tiny.en, complete; returns why that was not possible, "" if it was. lock: a file
    that all who may write at the same time know, since they fill one cache of what is fetched."""
    script = Path(ASSETS) / "complete_whisper.py"
    if not ASSETS or not script.is_file():
        return "WHISPER_ER_ASSETS names no directory with complete_whisper.py"
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = subprocess.run([sys.executable, script, kind, directory], check=False, capture_output=True, text=True)
    return done.stderr.strip()[-300:] or "complete_whisper.py failed" if done.returncode else ""
