"""A published corpus on disk: what local/prepare_<corpus>.py of the recipes share. Standard library only."""

import os
from collections.abc import Iterable
from pathlib import Path

from whisper_er.base.errors import UserError, first_few

AUDIO_SUFFIXES = (".wav", ".flac")
PATHS_FROM = "paths_from"  # environment variable of the recipes: where the user stands


def user_path(word: str) -> Path:
    """A path that the user wrote: where the user stands, or in the recipe's directory if nothing is there."""
    directory = os.environ.get(PATHS_FROM, ".")
    path = Path(directory, word)
    return path if path.exists() and not os.path.samefile(directory, ".") else Path(word)


def find_audio(directories: Iterable[Path]) -> dict[str, Path]:
    """File stem -> absolute path of every audio file directly in the directories.

    Hidden files are left out: the `._*` of archives packed on a Mac end in .wav too. UserError: a stem found twice.
    """
    files: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(directory.iterdir()):
            if path.suffix not in AUDIO_SUFFIXES or path.name.startswith("."):
                continue
            if path.stem in files:
                raise UserError(f"{path}: utterance {path.stem} is there twice, also as {files[path.stem]}; keep one")
            files[path.stem] = Path(os.path.abspath(path))
    return files


def check_published(utt_ids: set[str], published: set[str], where: Path, source: str) -> None:
    """UserError, with the first few ids, unless `utt_ids` are exactly the published ones."""
    missing, extra = published - utt_ids, utt_ids - published
    if missing or extra:
        differences = [
            f"{len(ids)} {kind} ({first_few(sorted(ids))})"
            for kind, ids in (("missing", missing), ("not in the published list", extra))
            if ids
        ]
        raise UserError(
            f"{where}: {len(published & utt_ids)} of the {len(published)} published utterances, "
            f"{', '.join(differences)}; unpack the corpus again ({source}), "
            "or take what is there with --check_counts false"
        )
