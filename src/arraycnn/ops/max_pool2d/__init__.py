"""Pools and their gradients: for NumPy, compiled, and in CUDA C++."""

import math

from arraycnn.ops.window import Window


def has_kernel(window: Window, ties: str = "first") -> bool:
    """Whether kernels pool so: without padding, the first of equal pixels wins, and a byte says it."""
    size = math.prod(window.kernel_size)
    return ties == "first" and size <= 256 and not any(window.padding)
