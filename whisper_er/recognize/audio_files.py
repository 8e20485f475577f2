"""Words of a command line -> audio files: files, directories, lists on standard input."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import soundfile

from whisper_er.base.errors import UserError, first_few

# What files end in: libsndfile's names of its formats, and where these differ. What ends in .raw has no header.
SUFFIXES = ({f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}) | {
    ".8svx", ".aif", ".aifc", ".mat", ".oga", ".opus", ".sf", ".snd", ".sph"}  # fmt: skip
Found = list[tuple[Path, Path]]  # an audio file, and the name of what is written for it


def find_audio_files(words: Iterable[str]) -> Found:
    """Of a word that is a directory all audio below it; - stands for a list on standard input, one a line.

    What else a directory holds is counted on standard error. UserError where there is nothing.
    """
    files: Found = []
    for word in words:
        if word == "-":
            listed = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
            if not any(listed):
                raise UserError("-: standard input names no recording")
            files += [file for name in listed if name for file in find(name)]
        else:
            files += find(word)
    return files


def find(name: str) -> Found:
    if not os.path.isdir(name):  # not Path's, which raises for a name that is too long
        return [(Path(name), Path(Path(name).name))]
    every = [path for path in sorted(Path(name).rglob("*")) if path.is_file() and not path.name.startswith(".")]
    audio = [path for path in every if path.suffix.lower() in SUFFIXES]
    if not audio:
        raise UserError(f"{name}: no audio in this directory; known endings: {' '.join(sorted(SUFFIXES))}")
    if others := sorted(set(every) - set(audio)):
        print(
            f"{name}: {len(others)} files that do not end as audio does are left out: {first_few(map(str, others))}",
            file=sys.stderr,
        )
    return [(path, path.relative_to(name)) for path in audio]


def check_distinct(files: Found, out_dir: Path) -> None:
    """UserError where two recordings would be written to one file, or something beside a recording."""
    written: dict[Path, Path] = {}
    for path, name in files:
        if other := written.get(name.with_suffix("")):
            raise UserError(
                f"--out_dir: {other} and {path} would both be written to {name.stem}.*; recognize them "
                "apart, or give the directory that holds both"
            )
        if (out_dir / name).parent.resolve() == path.parent.resolve():
            raise UserError(
                f"--out_dir {out_dir}: {path} lies there, and a transcript beside it would be lost; choose "
                "another directory"
            )
        written[name.with_suffix("")] = path
