"""A captured function is the function, whatever shapes come in which order."""

from contextlib import contextmanager
from unittest import mock

import pytest
import torch

from whisper_er.graphs.captured import Captured, CaptureFailed


def double(inputs):
    return {"twice": 2 * inputs["x"], "sum": inputs["x"].sum() + inputs["y"]}


def test_every_call_gives_what_the_function_gives():
    captured = Captured(double, torch.device("cpu"), most=4, rehearse=True)
    for size in (3, 5, 3, 3, 5, 5, 3):
        inputs = {"x": torch.randn(size), "y": torch.randn(())}
        outputs = captured(inputs)
        for name, tensor in double(inputs).items():
            assert torch.equal(outputs[name], tensor)


def test_a_replay_writes_where_the_last_one_did():
    captured = Captured(double, torch.device("cpu"), most=4, rehearse=True)
    inputs = {"x": torch.ones(2), "y": torch.zeros(())}
    captured(inputs)
    first = captured(inputs)["twice"]
    captured({"x": torch.zeros(2), "y": torch.zeros(())})
    assert first.tolist() == [0, 0]


def test_variants_of_the_same_shapes_are_captured_apart():
    factor = [1.0]
    captured = Captured(lambda inputs: {"y": factor[0] * inputs["x"]}, torch.device("cpu"), most=4, rehearse=True)
    inputs = {"x": torch.ones(())}
    for variant in ("a", "b"):
        captured(inputs, variant)
        captured(inputs, variant)
    assert len(captured.met) == 2


def test_where_there_are_as_many_graphs_as_may_be_all_leave():
    captured, kept = Captured(double, torch.device("cpu"), most=2, rehearse=True), []
    for size in (1, 2, 1, 3, 3):
        captured({"x": torch.zeros(size), "y": torch.zeros(())})
        kept.append([key[1][1] for key in captured.met])
    assert kept == [[(1,)], [(1,), (2,)], [(1,), (2,)], [(3,)], [(3,)]]


@pytest.fixture
def on_a_gpu(monkeypatch):
    """What capturing asks of a GPU, pretended; returns the default generator's states in the order they were set."""
    device, states = torch.device("cuda", 0), []
    generator = mock.Mock(**{"graphsafe_get_state.return_value": "default", "graphsafe_set_state": states.append})
    other = mock.Mock(**{"graphsafe_get_state.return_value": "other"})
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "second")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "current")
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: None)
    monkeypatch.setattr(torch.cuda, "default_generators", [generator], raising=False)
    monkeypatch.setattr(torch, "Generator", lambda device: other)
    captured = Captured(double, torch.device("cpu"), most=4, rehearse=True)
    for _ in range(2):
        captured({"x": torch.ones(2), "y": torch.zeros(())})
    captured.rehearse, captured.pool, captured.stream = False, "first", mock.Mock(device=device)
    return captured, states


def test_too_little_memory_for_a_graph_lets_the_others_leave_and_then_is_said(monkeypatch, on_a_gpu):
    (captured, states), tried = on_a_gpu, []

    def fail(function, inputs, pool, stream):
        tried.append((len(captured.met), pool))
        raise torch.OutOfMemoryError("CUDA out of memory.\n Tried to allocate")

    monkeypatch.setattr("whisper_er.graphs.captured.Graph", fail)
    with pytest.raises(CaptureFailed, match=r"^a CUDA graph could not be captured: CUDA out of memory\. \(captured"):
        captured.capture({"x": torch.ones(2), "y": torch.zeros(())})
    assert tried == [(1, "first"), (0, "second")]
    assert states == ["default"] * 4 + ["other"]


@pytest.mark.parametrize("moment", ["before", "within", "ended"])
@pytest.mark.parametrize("name", ["_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"])
def test_a_capture_that_fails_names_the_first_cause_and_gives_back_what_it_has(monkeypatch, on_a_gpu, moment, name):
    captured, states = on_a_gpu
    captured.draws, given_up = False, []
    monkeypatch.delattr(torch._C, "_cuda_endAllocateToPool", raising=False)

    def end(*args):
        given_up.append((name, *args))
        if moment == "ended":
            raise RuntimeError("not currently recording")

    @contextmanager
    def graph(*args, **kwargs):
        if moment == "before":
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        try:
            yield
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    def read(inputs):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch._C, name, end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda *args: given_up.append(("release", *args)), raising=False)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", mock.Mock())
    monkeypatch.setattr(torch.cuda, "graph", graph)
    captured.function = read
    with pytest.raises(CaptureFailed, match=r"captured: operation not permitted when stream is capturing \(.*captured"):
        captured.capture({"x": torch.ones(2), "y": torch.zeros(())})
    assert states == ["other", "default"] and not captured.met
    expected = [(name, 0, "first"), ("release", 0, "first")]
    assert given_up == {"before": [], "within": expected, "ended": expected[:1]}[moment]
