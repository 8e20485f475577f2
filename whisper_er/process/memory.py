"""Memory that does not suffice: the exceptions that say so, of whatever library, as one line with what helps."""

import re
import sys

from whisper_er.base.errors import UserError

TRAINING = (
    "lower batch_size and raise accum_grad as much, which gives the same result (in validation: lower "
    "valid_batch_size), or set activation_checkpointing=true, dtype=bfloat16, or parallel=fsdp on several GPUs"
)
DECODING = "lower batch_size or beam_size, or set dtype=bfloat16"
ANYTHING = "end other programs, or run where there is more memory"
# torch on a GPU and on a CPU, CTranslate2, cuBLAS and cuDNN, C++, oneDNN, the operating system.
SIGNS = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|_STATUS_ALLOC_FAILED|bad_alloc"
    r"|could not create a memory object",
    re.IGNORECASE,
)
ASKED = re.compile(r"(?:tried to allocate|unable to allocate) ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)
CAPACITY = re.compile(r"total capacity of ([\d.]+ [KMGT]iB) of which ([\d.]+ [KMGT]iB) is free")
ON_GPU = re.compile(r"CUDA|HIP|CUBLAS|CUDNN")


def out_of_memory(error: BaseException, advice: str) -> UserError | None:
    """The error for the user, if memory did not suffice: what was asked for, on a GPU what was free, what to do."""
    text = str(error)
    if isinstance(error, UserError) or not (isinstance(error, MemoryError) or SIGNS.search(text)):
        return None
    facts = []
    if asked := ASKED.search(text):
        facts.append(f"{size(float(asked[1])) if asked[2] == 'bytes' else f'{asked[1]} {asked[2]}'} were asked for")
    if on_gpu := ON_GPU.search(text):
        facts += free_on_gpu(text)
    what = "memory of the GPU" if on_gpu else "memory"
    return UserError(": ".join([f"{what} does not suffice", *([", ".join(facts)] if facts else [])]) + f"; {advice}")


def free_on_gpu(text: str) -> list[str]:
    """Free and whole memory of the GPU, as torch's message says, or as it is once the exception is caught."""
    if capacity := CAPACITY.search(text):
        return [f"{capacity[2]} of {capacity[1]} were free"]
    torch = sys.modules.get("torch")
    if not torch or not torch.cuda.is_available():
        return []
    free, total = torch.cuda.mem_get_info()
    return [f"{size(free)} of {size(total)} are free"]


def size(number: float) -> str:
    return f"{number / 2**30:.2f} GiB"
