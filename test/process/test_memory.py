"""Memory that does not suffice is one line for the user, from whatever library the exception comes."""

import errno
from unittest import mock

import numpy as np
import pytest
import torch

from whisper_er.base.errors import UserError
from whisper_er.bin import run
from whisper_er.process import memory
from whisper_er.process.memory import DECODING, out_of_memory

ON_GPU = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB of which 3.21 GiB is "
    "free. Process 77 has 75.94 GiB memory in use. Of the allocated memory 70.00 GiB is allocated by PyTorch."
)
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


def line_of(raise_it) -> str:
    def main():
        raise_it()

    with mock.patch("sys.argv", ["decode"]), pytest.raises(SystemExit) as exit_:
        run(main, DECODING)
    assert isinstance(exit_.value.code, str) and "\n" not in exit_.value.code
    return exit_.value.code


def test_what_was_asked_for_and_what_helps_is_said():
    huge = 2**50
    asked = "error: memory does not suffice: 1048576.00 GiB were asked for; lower batch_size or beam_size, "
    assert line_of(lambda: torch.empty(huge, dtype=torch.uint8)).startswith(asked)
    assert line_of(lambda: np.empty(huge, dtype="uint8")).startswith(
        "error: memory does not suffice: 1.00 PiB were asked for; lower batch_size"
    )
    assert line_of(lambda: bytearray(2**62)).startswith("error: memory does not suffice; lower batch_size")


def test_of_a_gpu_what_was_free_is_said_as_well():
    error = out_of_memory(torch.OutOfMemoryError(ON_GPU), memory.TRAINING)
    assert str(error).startswith(
        "memory of the GPU does not suffice: 20.00 MiB were asked for, 3.21 GiB of 79.15 GiB were free; lower"
    )
    for option in ("accum_grad", "activation_checkpointing=true", "dtype=bfloat16", "parallel=fsdp"):
        assert option in str(error)


@pytest.mark.parametrize("text, what", [
    (CUBLAS, "memory of the GPU"), ("CUDA failed with error out of memory", "memory of the GPU"),
    ("NCCL error:\nLast error:\nCuda failure 2 'out of memory'", "memory of the GPU"),
    ("CHIP: not enough memory: /data/HIPPO", "memory"),
])  # fmt: skip
def test_a_gpu_whose_message_has_no_figures_is_not_asked(text, what):
    with mock.patch.object(torch.cuda, "mem_get_info", side_effect=RuntimeError("CUDA error: out of memory")):
        assert str(out_of_memory(RuntimeError(text), "do")) == f"{what} does not suffice; do"


def test_of_the_errors_of_the_system_one_is_of_memory():
    assert "not suffice" in str(out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"), "do"))
    assert "not suffice" in str(out_of_memory(OSError("Cannot allocate memory (os error 12)"), "do"))  # safetensors
    assert out_of_memory(FileNotFoundError(errno.ENOENT, "No such file", "out of memory/a.wav"), "do") is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape mismatch"),
        UserError("there is not enough memory"),
        KeyError(1),
        RuntimeError("in a process:\nTraceback (most recent call last):\n  # out of memory\nKeyError: 1"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    assert out_of_memory(error, DECODING) is None
    with mock.patch("sys.argv", ["decode"]), pytest.raises((type(error), SystemExit)) as caught:
        run(mock.Mock(side_effect=error))
    if isinstance(error, UserError):
        assert caught.value.code == "error: there is not enough memory"
    else:
        assert caught.value is error
