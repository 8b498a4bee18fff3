"""Where the time of a training step goes: each of our kernels by itself, on one thread.

A plan may run a step in tiles, or compiled as a whole: so kernels are not timed inside of it. A step
runs once with a record whose kernels note what they are given, and each call is repeated with the
same arrays, for tiles of several sizes; the fastest an image counts. Their sum is what a step on one
thread would take if nothing came between them; it stands beside what the step does take.
"""

import time
from statistics import median

import numpy as np

from kernel_calls import arrays_in, calls_of_step

TILES = (1, 4, 16, 64)
ROUNDS = 7
SECONDS = 0.003  # of a round


class Machine:
    """Where `calls_of_step` runs a step: NumPy with the kernels of ``backend``."""

    def __init__(self, backend):
        self.record = lambda precision: backend.kernels
        self.place = np.array


def rows(backend, net, batch):
    """[{"kernel", "shape", "tile", "microseconds"}] of an image, in a batch of that size."""
    from arraycnn.execution.blas import single_threaded_blas

    runs = {
        tile: calls_of_step(Machine(backend), net, tile, "fp32") for tile in TILES if tile <= batch
    }
    with single_threaded_blas():
        measured = [[_row(call, tile, batch) for call in calls] for tile, calls in runs.items()]
    return [min(rows, key=lambda row: row["microseconds"]) for rows in zip(*measured, strict=True)]


def _row(call, tile, batch):
    name, arguments, keywords, _, function = call
    images, shape = tile, list(arrays_in(arguments)[0].shape[1:])
    if name.endswith("_update"):  # of the parameters, once a batch
        images, shape = batch, [sum(array.size for array in arguments[0])]
    seconds = _seconds(lambda: function(*arguments, **keywords))
    return {
        "kernel": name,
        "shape": shape,
        "tile": images,
        "microseconds": seconds / images * 1e6,
    }


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
