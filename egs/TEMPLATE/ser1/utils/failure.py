"""Why a command failed: the line of its log that says so."""

from __future__ import annotations

import re
import signal
from itertools import islice, takewhile

MOST_LINES = 5  # of one reason, after its first
ERROR = re.compile(r"(whisper-er \w+: )?error: ")  # what our programs print for the user, and argparse
TRACEBACK = "Traceback (most recent call last):"
IGNORED = "Exception ignored in"  # stands before the traceback of what a program that leaves does not care about
# What the other processes say of one that has ended.
LOST = re.compile(r"connection (closed|reset) by peer|remote process (exited|has exited)", re.IGNORECASE)
# What each of several processes puts before the lines of its error (whisper_er/process/torchrun.py).
RANK = re.compile(r"\[rank\d+\]: ")
# torchrun ends with a traceback of its own and a table of the processes that failed. What it calls the first failure is
# not: of two that end within a tenth of a second it takes the one of the lower rank.
PAGE = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
ENDED_BY_SIGNAL = re.compile(r"rank +: (\d+) \(local_rank: \d+\)\s+exitcode +: -(\d+) \(pid: (\d+)\)")
ENDED_BY_TORCHRUN = re.compile(r"Unable to shutdown process (\d+) ")
# Those that come from outside or from a crash: TERM is torchrun's, ABRT may be NCCL's after another process has ended.
FATAL = {signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
OUR_END = re.compile(r"^# end .*, exit code (-?\d+)$", re.MULTILINE)  # job_log.py


def reason(log: str) -> str:
    """The line; of several processes that of the first to fail, with its rank where others have another reason. Empty
    where no line says why.

    The first in the log is the first to fail: the others fail since they wait for it.
    """
    if killed := killed_by(log):
        return killed
    lines = without_page(log.splitlines())
    ranks = {match[0] for line in lines if (match := RANK.match(line))}
    found = [line for line in (error_of(lines, rank) for rank in ranks) if line] or [error_of(lines, "")]
    found = [one for one in found if one and not LOST.search(one[1])] or list(filter(None, found))
    if not found:
        return ""
    texts = {RANK.sub("", text, count=1) for _, text in found}
    alone = len(texts) == 1 and len(found) == max(1, len(ranks))
    return texts.pop() if alone else min(found)[1]


def error_of(lines: list[str], rank: str) -> tuple[int, str] | None:
    """Number and text of the last error among the lines that begin with `[rank1]: `, or among all for "". The line of
    an entry point goes before a traceback, which may be that of its exit."""
    numbered = [(number, line) for number, line in enumerate(lines) if line.startswith(rank)]
    texts = [line[len(rank) :] for _, line in numbered]
    errors = [at for at, text in enumerate(texts) if ERROR.match(text)] or exceptions(texts)
    if not errors:
        return None
    number, line = numbered[errors[-1]]
    more = takewhile(lambda text: text[:1].isspace() and text.strip(), texts[errors[-1] + 1 :])  # torch has such a list
    return number, "\n".join([line, *islice(more, MOST_LINES)])


def exceptions(lines: list[str]) -> list[int]:
    """Positions of the lines `ValueError: ...` that follow the stack of a traceback."""
    before = ["", *lines]
    starts = [at for at, line in enumerate(lines) if line.endswith(TRACEBACK) and IGNORED not in before[at]]
    ends = (next((at for at in range(start + 1, len(lines)) if lines[at][:1] != " "), None) for start in starts)
    return [end for end in ends if end is not None]


def without_page(lines: list[str]) -> list[str]:
    """The lines before torchrun's closing traceback."""
    for at in exceptions(lines):
        if lines[at].startswith(PAGE):
            return lines[: max(start for start in range(at) if lines[start] == TRACEBACK)]
    return lines


def killed_by(log: str) -> str:
    """Which signal ended a process, where one did and torchrun did not send it."""
    stopped = set(ENDED_BY_TORCHRUN.findall(log))
    for rank, number, pid in ENDED_BY_SIGNAL.findall(log):
        if int(number) in FATAL and pid not in stopped:
            return f"error: rank {rank} was ended by {name_of(int(number))}"
    code = int(OUR_END.findall(log)[-1]) if OUR_END.search(log) else 0
    number = -code if code < 0 else code - 128  # the second is how bash says it
    return f"error: ended by {name_of(number)}" if code < 0 or number in FATAL else ""


def name_of(number: int) -> str:
    if number == signal.SIGKILL:
        return "SIGKILL, as the kernel does where memory runs out"
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
