"""How fast this machine could be: the matrix products of a call, recorded, and run again with nothing else.

FLOPs are counted by torch's own counter, those of attention and convolutions among them. The limit is the rate of the
products alone, run right after the call that they are from: other work on the machine then slows both.
"""

import time
from collections import Counter
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from workload import synchronize


def attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_flop_count(query, key, value)


def attention_backward_flops(gradient, query, key, value, *args, out_shape=None, **kwargs) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


ATTENTION = {  # which the counter knows by its names on a GPU only
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


class Products(TorchDispatchMode):
    """The matrix products that ran within it: (m, k, n, dtype, transposed left, transposed right) -> how often."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[-1].split(".")[0]
        if name in ("mm", "addmm"):
            left, right = args[-2:] if name == "mm" else args[1:3]
            layout = left.stride(0) < left.stride(1), right.stride(0) < right.stride(1)
            self.shapes[(left.shape[0], left.shape[1], right.shape[1], left.dtype, *layout)] += 1
        return function(*args, **(kwargs or {}))


def record(call: Callable[[], object]) -> tuple[int, Counter]:
    """FLOPs of a call, and its matrix products."""
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter, Products() as products:
        call()
    return counter.get_total_flops(), products.shapes


def run_alone(shapes: Counter, device: str) -> tuple[int, float]:
    """FLOPs and seconds of these products, each as often as it was recorded and once before."""
    flops, seconds = 0, 0.0
    for (m, k, n, dtype, left_transposed, right_transposed), times in shapes.items():
        left = torch.randn((k, m) if left_transposed else (m, k), device=device).to(dtype)
        right = torch.randn((n, k) if right_transposed else (k, n), device=device).to(dtype)
        left, right = left.T if left_transposed else left, right.T if right_transposed else right
        result = left @ right
        synchronize(device)
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right, out=result)
        synchronize(device)
        flops += times * 2 * m * k * n
        seconds += time.perf_counter() - start
    return flops, seconds


def peak_rate(device: str, dtype: torch.dtype, size: int = 8192) -> float:
    """FLOP/s of one product of large square matrices, 20 times."""
    flops, seconds = run_alone(Counter({(size, size, size, dtype, False, False): 20}), device)
    return flops / seconds
