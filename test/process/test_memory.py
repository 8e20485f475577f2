"""Memory that does not suffice is one line for the user, from whatever library the exception comes."""

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


def test_where_the_message_has_no_figures_the_gpu_is_asked():
    with (
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "mem_get_info", return_value=(2**29, 2**33)),
    ):
        error = out_of_memory(RuntimeError(CUBLAS), DECODING)
    assert str(error).startswith("memory of the GPU does not suffice: 0.50 GiB of 8.00 GiB are free; lower")


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), UserError("there is not enough memory"), KeyError(1)]
)
def test_other_errors_stay_what_they_are(error):
    assert out_of_memory(error, DECODING) is None
    with mock.patch("sys.argv", ["decode"]), pytest.raises((type(error), SystemExit)) as caught:
        run(mock.Mock(side_effect=error))
    if isinstance(error, UserError):
        assert caught.value.code == "error: there is not enough memory"
    else:
        assert caught.value is error
