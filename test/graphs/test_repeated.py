"""A repeated step goes on from what the one before has left, whatever shapes come in between."""

import torch

from whisper_er.graphs.repeated import Repeated


def count(state):
    state["number"] += 1
    state["sum_N"] += state["number"] * state["step_N"]
    return {"total": state["sum_N"].sum()}


def state_of(size: int):
    return {
        "number": torch.zeros((), dtype=torch.long),
        "step_N": torch.ones(size),
        "sum_N": torch.zeros(size, dtype=torch.double),
    }


def test_a_step_goes_on_from_the_last_one_and_leaves_what_was_given_as_it_is():
    repeated = Repeated(count, torch.device("cpu"), most=4, rehearse=True)
    for size in (3, 100, 2, 3, 100):
        given = state_of(size)
        repeated.begin(given)
        totals = [float(repeated.step()["total"]) for _ in range(3)]
        assert totals == [size, 3 * size, 6 * size]
        assert repeated.inputs["sum_N"].tolist() == [6.0] * size
        assert int(given["number"]) == 0


def test_all_shapes_share_memory_and_graphs_leave_when_it_moves():
    repeated = Repeated(count, torch.device("cpu"), most=4, rehearse=True)
    kept = []
    for size in (100, 3, 100, 1000, 3, 2, 1):
        repeated.begin(state_of(size))
        kept.append(len(repeated.met))
        assert repeated.inputs["number"].data_ptr() == repeated.memory.data_ptr()
    assert kept == [1, 2, 2, 1, 2, 3, 4]
    repeated.begin(state_of(5))  # as many as may be: all leave
    assert len(repeated.met) == 1 and [float(repeated.step()["total"]) for _ in range(2)] == [5, 15]
