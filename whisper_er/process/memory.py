"""Memory that does not suffice: the exceptions that say so, of whatever library, as one line with what helps."""

import errno
import re

from whisper_er.base.errors import UserError

TRAINING = (
    "lower batch_size and raise accum_grad as much, which gives the same result (in validation: lower "
    "valid_batch_size), or set graphs=off, activation_checkpointing=true, dtype=bfloat16, or parallel=fsdp on several "
    "GPUs"
)
DECODING = "lower batch_size or beam_size, in stage 5 on a GPU batch_seconds, or set dtype=bfloat16"
ANYTHING = "end other programs, or run where there is more memory"
# torch on a GPU and on a CPU, CTranslate2, cuBLAS and cuDNN, C++, oneDNN, the operating system.
SIGNS = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|_STATUS_ALLOC_FAILED|bad_alloc"
    r"|could not create a memory object",
    re.IGNORECASE,
)
ASKED = re.compile(r"(?:tried to allocate|unable to allocate) ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)
CAPACITY = re.compile(r"total capacity of ([\d.]+ [KMGT]iB) of which ([\d.]+ [KMGT]iB) is free")
ON_GPU = re.compile(r"\b(?:CUDA|Cuda|HIP|CUBLAS|CUDNN)(?:\b|_)")


def out_of_memory(error: BaseException, advice: str) -> UserError | None:
    """The error for the user, if memory did not suffice: what was asked for, on a GPU what was free, what to do."""
    text = str(error)
    if not tells(error):
        return None
    facts = []
    if asked := ASKED.search(text):
        facts.append(f"{size(float(asked[1])) if asked[2] == 'bytes' else f'{asked[1]} {asked[2]}'} were asked for")
    if on_gpu := ON_GPU.search(text):
        facts += [f"{free} of {total} were free" for total, free in CAPACITY.findall(text)]
    what = "memory of the GPU" if on_gpu else "memory"
    return UserError(": ".join([f"{what} does not suffice", *([", ".join(facts)] if facts else [])]) + f"; {advice}")


def tells(error: BaseException) -> bool:
    """Whether an exception says that memory does not suffice, and not only names a file that is called so."""
    if isinstance(error, UserError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    text = str(error)
    quoted = "Traceback (most recent call last)" in text  # of another process, which has judged it
    return isinstance(error, MemoryError) or bool(SIGNS.search(text) and not quoted)


def size(number: float) -> str:
    return f"{number / 2**30:.2f} GiB"
