"""Words of a command line -> audio files: files, directories, lists on standard input."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import soundfile

from whisper_er.audio.kinds import CONVERT, MEDIA_SUFFIXES
from whisper_er.base.errors import UserError, first_few

# Endings of audio files: libsndfile's names of its formats, and others in use. A .raw file has no header.
SUFFIXES = ({f".{name.lower()}" for name in soundfile.available_formats()} - {".raw"}) | {
    ".8svx", ".aif", ".aifc", ".mat", ".oga", ".opus", ".sf", ".snd", ".sph"}  # fmt: skip
AudioFiles = list[tuple[Path, Path]]  # (audio file, name of the output file)


def find_audio_files(words: Iterable[str]) -> AudioFiles:
    """Audio files that the words name: a file; a directory, for all audio below it; -, for a list on standard input.

    Other files of a directory are counted on standard error. UserError for a directory or a list without audio.
    """
    files: AudioFiles = []
    for word in words:
        if word == "-":
            names = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
            if not any(names):
                raise UserError("-: standard input names no recording")
            files += [file for name in names if name for file in find(name)]
        else:
            files += find(word)
    return files


def find(name: str) -> AudioFiles:
    if not os.path.isdir(name):  # not Path's, which raises for a name that is too long
        return [(Path(name), Path(Path(name).name))]
    paths = [path for path in sorted(Path(name).rglob("*")) if path.is_file() and not path.name.startswith(".")]
    audio = [path for path in paths if path.suffix.lower() in SUFFIXES]
    others = sorted(set(paths) - set(audio))
    media = [path for path in others if path.suffix.lower() in MEDIA_SUFFIXES]
    to_convert = f"{len(media)} media files that libsndfile cannot read: {first_few(map(str, media))}; {CONVERT}"
    if not audio:
        known = to_convert if media else f"known endings: {' '.join(sorted(SUFFIXES))}"
        raise UserError(f"{name}: no audio in this directory; {known}")
    if media:
        print(f"{name}: left out: {to_convert}", file=sys.stderr)
    if others := sorted(set(others) - set(media)):
        print(
            f"{name}: {len(others)} files that do not end as audio does are left out: {first_few(map(str, others))}",
            file=sys.stderr,
        )
    return [(path, path.relative_to(name)) for path in audio]


def check_distinct(files: AudioFiles, out_dir: Path) -> None:
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
