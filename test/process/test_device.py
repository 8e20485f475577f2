"""Reading processes and the model's threads together are no more than the cores."""

import pytest
import torch

from whisper_er.process import device


@pytest.mark.parametrize("cores, threads, wanted, on_cpu, beside_a_gpu", [
    (2, 2, 2, 0, 1), (4, 2, 2, 2, 2), (16, 4, 99, 12, 15), (1, 1, 2, 0, 0), (8, 1, 0, 0, 0), (2, 4, 2, 0, 1),
])  # fmt: skip
def test_processes_get_the_cores_that_are_left(monkeypatch, cores, threads, wanted, on_cpu, beside_a_gpu):
    monkeypatch.setattr(device, "cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert device.reading_processes(wanted, torch.device("cpu")) == on_cpu
    assert device.reading_processes(wanted, torch.device("cuda")) == beside_a_gpu
