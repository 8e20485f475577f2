"""The progress bar on a terminal."""

import os
import sys

from tqdm import tqdm

from whisper_er.process import torchrun


def progress_bar(total: int, unit: str, initial: int = 0) -> tqdm:
    """A bar with rate and time left where there is a terminal, nothing in a log.

    The recipe's launcher sends our own output to a log; the terminal that it was started from, if any, it hands on as
    the file descriptor PROGRESS_FD.
    """
    descriptor = os.environ.get("PROGRESS_FD")
    file = os.fdopen(os.dup(int(descriptor)), "w") if descriptor else sys.stderr
    shown = file.isatty() and torchrun.rank() == 0
    return tqdm(total=total, initial=initial, unit=unit, file=file, disable=not shown, dynamic_ncols=True)
