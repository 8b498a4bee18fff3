"""Runs the CUDA kernels on the CPU, by the launch code a device is given, and checks what they do.

How to use it in a test of a kernel::

    from host_cuda import check

    def test_im2col():
        x = ...                                                    # NumPy arrays
        columns = check(lambda cuda: im2col(cuda, x, window))      # cuda is a HostLauncher
        np.testing.assert_array_equal(columns, expected)

`check` calls the function once under the access checker (out of bounds, uninitialised shared
memory, races in and between blocks, undefined behaviour, barriers and warps that fall apart) and
then as quickly as it goes with the threads in several orders; the results must be equal bit for
bit. A function that changes arrays in place makes copies of its own and returns them.
`HostLauncher(checked=True)`, `HostLauncher(order="random", seed=1)` and
`HostLauncher(blocks=slice(-2, None))`, which runs the last two blocks of each launch, are launchers
for anything else; `lazy_zeros` makes arrays larger than the memory. What goes wrong raises
`KernelFault`, with kernel, block, thread and line. Arrays of `empty` are poisoned with 0xFF bytes
and lie between margins that no kernel may touch; shared memory is poisoned before each block.

It takes g++ and binutils on x86-64 Linux. What is compiled is kept in a folder under /tmp, or the
one that ARRAYCNN_HOST_CUDA_CACHE names.

host.h: CUDA C++ for g++. runtime.cpp: fibers, barriers, warps. checker.cpp: the access checker.
build.py: compiling. library.py: a compiled kernel. device_code.py: NVRTC, for tests that compile;
machine_code.py: the instructions it makes of a kernel; machine_run.py: those that a thread executes.
"""

import math
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraycnn.ops.cuda.launcher import COUNTERS, Launcher, Struct
from arraycnn.ops.cuda.sources import is_generated, source
from host_cuda.build import KernelFault
from host_cuda.library import ORDERS, arrays_of, lazy_memory, library

__all__ = ["HostLauncher", "KernelFault", "check", "lazy_zeros"]

if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    reason = "CUDA kernels run on the CPU of x86-64 Linux only"
    pytest.skip(reason, allow_module_level=True)

SANITIZED = os.environ.get("ARRAYCNN_HOST_CUDA") == "sanitized"
"""Whether all runs are under AddressSanitizer, which this process was then started with."""
LAUNCHES = os.environ.get("ARRAYCNN_LAUNCHES")
"""A folder in which each launch of a kernel of the package is noted, for tests/cuda_table.py."""

MOST_PARAMETERS = 4096
"""Bytes of a kernel's parameters, by CUDA's manual."""

_MARGIN = 4096
_MOST_POISONED = 1 << 26  # bytes; larger arrays take memory only where they are touched


def check(
    run: Callable[["HostLauncher"], Any], *, orders: Iterable[str] = ORDERS, checked: bool = True
) -> Any:
    """The result of ``run(launcher)``: an array, or arrays in tuples and lists.

    Parameters
    ----------
    run : callable
        Runs kernels by the launcher it is given. Called several times: it leaves its input alone.
    orders : of "forward", "reverse" and "random"
        Orders of threads, warps and blocks under which the results must be equal bit for bit.
    checked : bool
        Whether to run it once more, before, under the access checker, and compare that, too.

    Raises
    ------
    KernelFault
        A kernel went wrong, or the results differ.
    """
    launchers = [HostLauncher(checked=True)] if checked and not SANITIZED else []
    launchers += [HostLauncher(order=order, seed=seed) for seed, order in enumerate(orders)]
    results = [run(launcher) for launcher in launchers]
    bits = [_bits(result) for result in results]
    for launcher, other in zip(launchers[1:], bits[1:], strict=True):
        if other != bits[0]:
            message = f"{launcher.last_kernel}: results differ, {launchers[0]} against {launcher}"
            raise KernelFault(message)
    return results[-1]


class HostLauncher(Launcher):
    """Runs kernels on NumPy arrays.

    Parameters
    ----------
    order : "forward", "reverse" or "random"
        In which order blocks, warps and lanes take turns.
    seed : int
        Of the random order.
    checked : bool
        Whether each access of a kernel is checked: some five times slower.
    blocks : slice, optional
        Which blocks of each launch run, in the order x, y, z: all if None.
    """

    def __init__(
        self,
        order: str = "forward",
        seed: int = 0,
        checked: bool = False,
        blocks: slice | None = None,
    ) -> None:
        self.order = order
        self.seed = seed
        self.mode = "sanitized" if SANITIZED else "checked" if checked else "fast"
        self.blocks = slice(None) if blocks is None else blocks
        self.last_kernel = ""
        self._counter: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"HostLauncher({self.mode}, {self.order} {self.seed})"

    def owns(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size > _MOST_POISONED:
            return lazy_zeros(shape, dtype)
        if self.mode == "sanitized" and size:  # which has margins of its own
            return np.frombuffer(bytearray(b"\xff" * size), dtype).reshape(shape)
        memory = np.full(size + 2 * _MARGIN + 256, 0xFF, np.uint8).view(_Guarded)
        start = _MARGIN + -(memory.ctypes.data + _MARGIN) % 256  # as a device aligns
        memory.inner = slice(start, start + size)
        return np.ndarray(shape, dtype, memory[memory.inner])

    def counter(self) -> np.ndarray:
        if self._counter is None:
            self._counter = self.asarray(np.zeros(COUNTERS, np.int32))
        assert not self._counter.any(), (
            f"{self.last_kernel} left a counter at {self._counter.max()}"
        )
        return self._counter

    def view(self, array: np.ndarray) -> np.ndarray:
        return array

    def call(self, function: Callable[[], None]) -> None:
        function()

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def asarray(self, array: np.ndarray) -> np.ndarray:
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        return np.array(array)

    def text(self, file: str) -> str:
        """The source of ``file``.cu, or of a generated text."""
        return source(file)

    def start(
        self,
        file: str,
        kernel: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        shared: int,
    ) -> None:
        self.last_kernel = f"{file}.{kernel}"
        if LAUNCHES and type(self).text is HostLauncher.text and not is_generated(file):
            _note_launch(file, kernel, block, shared)
        taken = sum(map(_bytes_of, args))
        if taken > MOST_PARAMETERS:
            raise KernelFault(
                f"{self.last_kernel}: takes {taken} bytes, a device {MOST_PARAMETERS}"
            )
        compiled = library(self.text(file), kernel, self.mode)
        compiled.check(self.last_kernel, args)
        compiled.check_block(self.last_kernel, math.prod(block), shared)
        count = math.prod(grid)
        first, end, step = self.blocks.indices(count)
        assert step == 1
        fault = compiled.run(grid, block, args, shared, self.order, self.seed, first, end)
        if fault:
            raise KernelFault(f"{self.last_kernel}: {fault}")
        for number, array in arrays_of(args):
            _check_margins(f"{self.last_kernel}: argument {number}", array)


def _bytes_of(argument: Any) -> int:
    """What an argument takes among a kernel's parameters."""
    if isinstance(argument, Struct):
        return 8 * len(argument.members)
    return argument.dtype.itemsize if isinstance(argument, np.generic) else 8


def _note_launch(file: str, kernel: str, block: tuple[int, ...], shared: int) -> None:
    folder = Path(LAUNCHES or "")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{os.getpid()}.tsv").open("a") as notes:
        notes.write(f"{file}\t{kernel}\t{math.prod(block)}\t{shared}\n")


class _Guarded(np.ndarray):
    """Bytes of an array and its margins."""

    inner: slice


def lazy_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros that takes memory only where it is touched, however large it is."""
    return np.ndarray(shape, dtype, lazy_memory(math.prod(shape) * np.dtype(dtype).itemsize))


def _bits(result: Any) -> Any:
    if isinstance(result, tuple | list):
        return [_bits(part) for part in result]
    if result is None:
        return None
    array = np.asarray(result)
    return array.shape, str(array.dtype), array.tobytes()


def _check_margins(what: str, array: np.ndarray) -> None:
    memory = array
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
        if isinstance(memory, _Guarded) and hasattr(memory, "inner"):
            break
    else:
        return
    for name, margin in (
        ("before", memory[: memory.inner.start]),
        ("after", memory[memory.inner.stop :]),
    ):
        touched = np.flatnonzero(margin != 0xFF)
        if touched.size:
            place = touched[0] - margin.size if name == "before" else touched[0]
            margin[:] = 0xFF
            raise KernelFault(f"{what}: written {abs(place)} bytes {name} its memory")
