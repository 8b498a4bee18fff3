"""Where the time of a training step goes: each operation with a kernel of its own, on one thread.

A step runs once with a record whose kernels note what they are given. Each is then recorded with the
same arrays, as the plan records it, several times in a row, with all that it reads still in the
cache. What the step takes besides is its fused loops.
"""

import time
from functools import partial
from statistics import median

import numpy as np

from kernel_calls import arrays_in, calls_of_step

ROUNDS = 7
IN_A_ROW = 16
SECONDS = 0.003  # of a round


class Machine:
    """Where `calls_of_step` runs a step: NumPy with the kernels of ``backend``."""

    def __init__(self, backend):
        self.record = lambda precision: backend.kernels
        self.place = np.array


def rows(backend, net, batch):
    """[{"kernel", "shape", "microseconds"}] of an image, in a batch of that size."""
    from arraycnn.execution.blas import single_threaded_blas

    calls = calls_of_step(Machine(backend), net, batch, "fp32")
    with single_threaded_blas():
        return [_row(call, batch) for call in calls if isinstance(call[-1], partial)]


def _row(call, batch):
    name, arguments, keywords, _, kernel = call
    shape = list(arrays_in(arguments)[0].shape[1:])
    (launcher,) = kernel.args

    def work():
        for _ in range(IN_A_ROW):
            kernel(*arguments, **keywords)

    seconds = _seconds(launcher.capture(work)) / IN_A_ROW
    return {"kernel": name, "shape": shape, "microseconds": seconds / batch * 1e6}


def _seconds(work):
    """Of one call of ``work``: the median of rounds of several."""
    began = time.perf_counter()
    work()
    repeats = max(1, int(SECONDS / max(time.perf_counter() - began, 1e-7)))
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        times.append((time.perf_counter() - began) / repeats)
    return median(times)
