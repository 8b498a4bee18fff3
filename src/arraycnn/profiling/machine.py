"""What the machine does at the most, measured: the rates that parts of a step are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arraycnn.backends.host_memory import free_host_memory
from arraycnn.execution.blas import single_threaded_blas
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.profiling.rounds import interleaved

_SIDE = 768
"""Of the matrices: large enough for BLAS, small enough to be multiplied in some milliseconds."""

_COPIED = 2**27
"""Bytes that are copied: more than caches hold."""


@dataclass(frozen=True)
class Machine:
    """Rates of a machine on a number of threads.

    Attributes
    ----------
    threads : int
    operations : float
        Floating-point operations a second, of matrix products, one on each thread.
    bytes : float
        Bytes read and written a second, of a copy that no cache holds.
    """

    threads: int
    operations: float
    bytes: float

    def least_seconds(self, operations: int | None, moved: int) -> tuple[float, str]:
        """How long so much work takes at these rates, and which of the two, "arithmetic" or "memory",
        takes that long."""
        computing, moving = (operations or 0) / self.operations, moved / self.bytes
        return (computing, "arithmetic") if computing > moving else (moving, "memory")


def measured_machine(threads: int, dtype: str, seconds: float, now: Callable[[], float]) -> Machine:
    """The rates of NumPy's own product and copy on ``threads`` threads, in about ``seconds``."""
    pool, side = thread_pool(threads), _SIDE
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(size=(threads, side, side)).astype(dtype) for _ in range(2))
    products = np.empty_like(a)
    free = free_host_memory()
    count = _COPIED if free is None else max(2**20, min(_COPIED, free // 8))
    source = np.ones((threads, count // threads), np.uint8)
    target = np.empty_like(source)

    def multiply(times: int) -> None:
        for _ in range(times):
            pool.run(lambda n: np.matmul(a[n], b[n], out=products[n]), threads)

    def copy(times: int) -> None:
        for _ in range(times):
            pool.run(lambda n: np.copyto(target[n], source[n]), threads)

    with single_threaded_blas():
        took = interleaved({"products": multiply, "copies": copy}, seconds, now)
    operations = 2 * threads * side**3 / took["products"]
    return Machine(threads, operations, 2 * source.nbytes / took["copies"])
