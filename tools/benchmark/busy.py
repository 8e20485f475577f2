"""How much of the time a GPU works: the seconds in which at least one kernel or copy runs on it."""

from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def busy_seconds(call: Callable[[], object]) -> float:
    """Of one call. Compare with its seconds without the profiler, which slows the host and not the kernels."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    on_device = [
        event.time_range
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    return covered((span.start, span.end) for span in on_device) / 1e6  # microseconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what spans cover that may overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
