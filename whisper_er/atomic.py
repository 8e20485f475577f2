import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """A small file, whole or not at all; left alone where it says the same already, so that it does not look newer."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    replace(temporary, path)


def replace(temporary: Path, path: Path) -> None:
    """fsync and rename: after a crash there is the old file or the new one."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)  # safetensors makes files for their owner only
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the new name, too, is to outlive a power cut
    finally:
        os.close(directory)
