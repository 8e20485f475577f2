"""Files and directories that appear whole or not at all, and one run at a time in a directory."""

import errno
import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from whisper_er.base.errors import UserError

LOCK = ".lock"  # names the run that holds it


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all; one with the same text is left alone and keeps its time."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    replace(temporary, path)


def replace(temporary: Path, path: Path) -> None:
    """fsync and rename: after a crash there is the old file or the new one."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.chmod(temporary, usual_mode())  # safetensors makes files for their owner only
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the new name, too, is to outlive a power cut
    finally:
        os.close(directory)


@cache
def usual_mode() -> int:
    """Of a file, by the umask. Asked for once: as long as that takes, the umask of all threads is 0."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def link(path: Path, name: Path) -> None:
    """Give a file a second name; a copy where the file system has no links. What had the name is replaced at once."""
    temporary = name.with_name(name.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
        os.replace(temporary, name)
    except OSError:
        shutil.copyfile(path, temporary)
        replace(temporary, name)
    temporary.unlink(missing_ok=True)  # a rename onto another name of the same file does nothing


@contextmanager
def replace_dir(path: Path, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty directory to fill; it becomes `path` at the end, and vanishes if the block raises.

    UserError where `path` holds something that is not replaceable, which would be destroyed, or where another process
    is replacing it.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing where it points
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: exists and is no directory; choose another output directory")
    if path.is_dir() and any(path.iterdir()) and not replaceable(path):
        raise UserError(f"{path}: exists and is something else; remove it or choose another output directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    # Of its own for each process: what a killed one has started may still write into the directory that it was given.
    new = unfinished / str(os.getpid())
    with _locked_beside(path):
        for leftover in (unfinished, old):  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            yield new
            if path.exists():
                path.rename(old)
            new.rename(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def holding(name: str) -> Callable[[Path], bool]:
    """Whether a directory holds a file of this name, for replace_dir."""
    return lambda directory: (directory / name).is_file()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock the directory for one run; UserError that names the run that holds it.

    A record lock (POSIX): the kernel frees it when the process dies, however it dies, it works across machines on NFS,
    and the processes that read audio, which are forked, do not share it.
    """
    with open(directory / LOCK, "a+", encoding="utf-8") as file:
        _lock(file, directory)
        yield


@contextmanager
def _locked_beside(path: Path) -> Iterator[None]:
    """As locked, for a directory that is to be replaced: the lock lies beside it, and goes when it is released."""
    lock = path.with_name(f".{path.name}{LOCK}")
    while True:
        with open(lock, "a+", encoding="utf-8") as file:
            with suppress(PermissionError):  # another user's
                os.chmod(lock, 0o666)  # where a killed process has left it, others may lock it, too
            _lock(file, path)
            if not _has_name(file, lock):  # who held it has removed it after we opened it
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _has_name(file: IO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(file: IO[str], directory: Path) -> None:
    """Lock the file and write into it who we are; closing it releases the lock."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            print(f"{directory}: this file system has no locks ({error.strerror}): see to it yourself that one run "
                  "at a time works here", flush=True)  # fmt: skip
        else:
            file.seek(0)
            raise UserError(
                f"{directory}: another run works here: {file.read().strip() or 'it has not said who it is'}; wait "
                "for it, or stop it"
            ) from None
    job = os.environ.get("SLURM_JOB_ID")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}{f', Slurm job {job}' if job else ''}, since "
               f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n")  # fmt: skip
    file.flush()
