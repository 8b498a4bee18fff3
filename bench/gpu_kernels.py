"""Each kernel of a training step: its time, against what a copy or a large product takes.

Each kernel that is written by hand is called with arrays of the shapes that it has in the step, again
and again, in one CUDA graph, as steps are run. What it must move (each array once)
and multiply gives the least time at the rates measured here; the share of that in its own time is what
the table shows. Arrays as small as these stay in the cache from one call to the next, as they do from
one kernel of a step to the next, so a share of the copy's rate may exceed 1.
"""

import time
from statistics import median

import numpy as np

from kernel_calls import arrays_in, calls_of_step, flop_of

REPEATS = 20
ROUNDS = 7


class OnDevice:
    """CuPy, timed by events."""

    def __init__(self):
        import cupy

        from arraycnn.ops.cuda.cupy import cupy_kernels, cupy_launcher

        self._cupy, self._launcher = cupy, cupy_launcher(0)
        self.record = lambda precision: cupy_kernels(0, precision)
        self.place = self._launcher.asarray

    def seconds(self, work):
        """Of one call of ``work``, in a recording of many."""
        work()  # compiled and loaded
        replay = self._launcher.capture(lambda: [work() for _ in range(REPEATS)] and None)
        return self._timed(replay) / REPEATS

    def _timed(self, work):
        event, times = self._cupy.cuda.Event, []
        work()
        for _ in range(ROUNDS):
            first, last = event(), event()
            first.record()
            work()
            last.record()
            last.synchronize()
            times.append(self._cupy.cuda.get_elapsed_time(first, last) / 1e3)
        return median(times)

    def rates(self):
        """Bytes a second of a large copy, read and written; FLOP a second of large products."""
        cupy = self._cupy
        source = cupy.random.random(2**28, dtype="float32")
        target = cupy.empty_like(source)
        copying = self._timed(lambda: cupy.copyto(target, source))
        return {"copy": 2 * source.nbytes / copying} | {
            precision: self._product_rate(precision) for precision in ("fp32", "tf32", "bf16")
        }

    def _product_rate(self, precision, size=8192):
        """Of cuBLAS, called directly: CuPy's own matmul knows neither TF32 nor bfloat16 at will."""
        cupy = self._cupy
        from cupy_backends.cuda.libs import cublas

        a, b = (cupy.random.random((size, size), dtype="float32") for _ in range(2))
        single, half, plain, rounded = 0, 14, 68, 77  # CUDA_R_32F, _16BF, CUBLAS_COMPUTE_32F, _TF32
        kind, compute = single, rounded if precision == "tf32" else plain
        if precision == "bf16":
            a, b = ((m.view("uint32") >> 16).astype("uint16") for m in (a, b))
            kind = half
        y = cupy.empty((size, size), "float32")
        one, zero = np.ones((), np.float32), np.zeros((), np.float32)

        def multiply():
            handle = cupy.cuda.device.get_cublas_handle()
            cublas.gemmEx(
                *(handle, 0, 0, size, size, size, one.ctypes.data),
                *(a.data.ptr, kind, size, b.data.ptr, kind, size),
                *(zero.ctypes.data, y.data.ptr, single, size, compute, -1),
            )

        return 2 * size**3 / self._timed(multiply)


class OnCPU:
    """NumPy, to see that this code works: its figures are of no device."""

    def __init__(self):
        import arraycnn as cnn

        self.record = lambda precision: cnn.NumPy().kernels
        self.place = np.array

    def seconds(self, work):
        work()
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return median(times)

    def rates(self):
        source = np.ones(2**20, np.float32)
        target, square = source.copy(), np.ones((256, 256), np.float32)
        product = 2 * 256**3 / self.seconds(lambda: np.matmul(square, square))
        copying = 2 * source.nbytes / self.seconds(lambda: np.copyto(target, source))
        return {"copy": copying, "fp32": product, "tf32": product, "bf16": product}


def kernel_rows(machine, net, batch, precision, rates):
    """[{"kernel", "shapes", "microseconds", "bytes", "flop", "bound", "share"}] of a step."""
    rows = []
    for name, arguments, keywords, result, function in calls_of_step(
        machine, net, batch, precision
    ):
        seconds = machine.seconds(lambda f=function, a=arguments, k=keywords: f(*a, **k))
        moved = sum(a.nbytes for a in arrays_in((arguments, keywords, result)))
        flop = flop_of(name, arguments)
        least = {"copy": moved / rates["copy"], "product": flop / rates[precision]}
        bound = max(least, key=least.get)
        shapes = [list(array.shape) for array in arrays_in(arguments)[:3]]
        rows.append(
            {
                "kernel": name,
                "shapes": shapes,
                "microseconds": seconds * 1e6,
                "bytes": moved,
                "flop": flop,
                "bound": bound,
                "share": least[bound] / seconds,
            }
        )
    return rows
