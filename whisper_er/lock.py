"""One run at a time in an experiment directory."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whisper_er.errors import UserError

LOCK = ".lock"  # says who has it


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory; UserError that names the run that has it already.

    A record lock (POSIX): the kernel frees it when the process dies, however it dies, it works across machines on NFS,
    and the processes that read audio, which are forked, do not share it.
    """
    with open(directory / LOCK, "a+", encoding="utf-8") as file:
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
        yield
