"""The records of kernels for NumPy arrays, on memory that shows what no kernel may read or write."""

from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.ops.numpy import record as plain
from arraycnn.program.render.numpy.calls import Calls
from rendered import Rendered, with_rendered


def in_order(value):
    if isinstance(value, list | tuple):
        return type(value)(map(in_order, value))
    return np.asarray(value, order="C") if isinstance(value, np.ndarray) else value


def arrays_in(value):
    if isinstance(value, list | tuple):
        return [array for part in value for array in arrays_in(part)]
    return [value] if isinstance(value, np.ndarray) else []


class Poisoned(plain.Launcher):
    """A launcher whose memory is full of what no kernel may read, and that writes nowhere else.

    A call of NumPy writes the array it is given and no byte beyond; but a view with strides of its
    own may reach further than what was handed out.
    """

    def __init__(self, pool):
        super().__init__(pool)
        self.handed_out = []  # the first address and that behind the last

    def empty(self, shape, dtype):
        return self._noted(poisoned(super().empty(shape, dtype)))

    def scratch(self, shape, dtype):
        return self._noted(poisoned(super().scratch(shape, dtype)))

    def call(self, function, *arguments, **options):
        target = options.get("out")
        if function is np.copyto:
            target = arguments[0]
        elif getattr(function, "__name__", "") in ("fill", "put"):
            target = function.__self__
        if target is not None and target.size:
            first, end = byte_bounds(target)
            assert any(start <= first and end <= stop for start, stop in self.handed_out), function
        super().call(function, *arguments, **options)

    def _noted(self, array):
        self.handed_out.append(byte_bounds(array))
        return array


def byte_bounds(array):
    """The first address of an array in any order, and the one behind its last byte."""
    span = sum(
        stride * (count - 1) for stride, count in zip(array.strides, array.shape, strict=True)
    )
    assert all(stride >= 0 for stride in array.strides)
    return array.ctypes.data, array.ctypes.data + span + array.itemsize


def poisoned(array):
    array.reshape(-1).view(np.uint8).fill(0xFF)  # NaN in every floating type
    return array


def kernels_of(launcher):
    """Plain kernels, and what is rendered beside them."""
    return with_rendered(plain.numpy_kernels(launcher), launcher, Calls)


def called():
    """Plain kernels that are called."""
    pool = ThreadPool(3)

    def run(name, *arguments, **options):
        return getattr(kernels_of(Poisoned(pool)), name)(*arguments, **options)

    return _replaced(pool, run)


def recorded():
    """Plain kernels of which each is recorded on zeros, and then run on what it was given."""
    pool = ThreadPool(3)

    def run(name, *arguments, **options):
        launcher = Poisoned(pool)  # whose recordings share their memory
        kernel = getattr(kernels_of(launcher), name)
        results = []
        arguments = [in_order(argument) for argument in arguments]
        values = [(array, array.copy()) for array in arrays_in(arguments)]
        for array, _ in values:
            array[...] = 0
        replay = launcher.capture(lambda: results.append(kernel(*arguments, **options)))
        for array, value in values:
            array[...] = value
        replay()
        return results[0]

    return _replaced(pool, run)


def _replaced(pool, run):
    kernels = kernels_of(plain.Launcher(pool))
    names = [field.name for field in fields(kernels)]
    ours = [n for n in names if isinstance(getattr(kernels, n), partial | Rendered)]
    return replace(kernels, **{name: partial(run, name) for name in ours})


RECORDS = {"plain": called(), "recorded": recorded()}
if find_spec("llvmlite") is not None:
    from guards import guarded_kernels

    RECORDS["compiled"] = guarded_kernels()
records = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
