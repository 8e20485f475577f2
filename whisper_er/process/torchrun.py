"""What torchrun tells each process that it starts, and how such a process ends; any other process is alone."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """0 to world_size() - 1, over all machines."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Rank among the processes of this machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def leaving() -> Iterator[None]:
    """Exit the process after the block; one of several names its rank in every line of its error, as torch does, and
    exits at once, without clean-up.

    A thread of gloo that drops its last tensor waits for the interpreter, which waits for that thread where it destroys
    DDP: in our tests a process in some fifty never ended.
    """
    code: str | int | None = 0
    try:
        yield
    except SystemExit as exit_request:
        code = exit_request.code
    except BaseException:
        code = traceback.format_exc().rstrip()
    if world_size() == 1:
        sys.exit(code)
    if isinstance(code, str):
        sys.stderr.write("".join(f"[rank{rank()}]: {line}\n" for line in code.splitlines()))
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
