"""Launchers that start no kernel: what a step would do on a device, found out on the host."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from arraycnn.ops.cuda.launcher import COUNTERS, Launcher, Size


class UnstartedLauncher(Launcher):
    """Arrays of the host, of which nothing is computed."""

    def __init__(self) -> None:
        self._counter = np.zeros(COUNTERS, np.int32)

    def owns(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.zeros(shape, dtype)

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, order="C")

    def address(self, array: np.ndarray) -> int:
        return 0  # as well aligned as on a device

    def asarray(self, array: np.ndarray) -> np.ndarray:
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def view(self, array: np.ndarray) -> np.ndarray:
        return array

    def counter(self) -> np.ndarray:
        return self._counter

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        return np.array(array)

    def start(
        self, file: str, kernel: str, grid: Size, block: Size, args: tuple[Any, ...], shared: int
    ) -> None:
        pass

    def call(self, function: Callable[[], None]) -> None:
        pass

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        return lambda: None


_GRAIN = 512
"""Bytes that CuPy gives out at the least, and multiples of."""


class MemoryLauncher(UnstartedLauncher):
    """Counts the memory that a plan takes on a device.

    As there, the arrays of each recording lie in a pool of its own, which stays as large as it was at
    the most; memory of the others is free for a recording as soon as nobody holds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pools = [_Pool()]
        """The first is of what no recording makes."""
        self._open = self._pools[0]
        self.peak_bytes = 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = np.empty(shape, dtype)  # of which nobody touches a page
        size = -(-max(array.nbytes, 1) // _GRAIN) * _GRAIN
        self._open.take(size)
        weakref.finalize(array, self._open.give_back, size).atexit = False
        self.peak_bytes = max(self.peak_bytes, sum(pool.most for pool in self._pools))
        return array

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self._pools[0].shrink()
        self._open = _Pool()
        self._pools.append(self._open)
        try:
            work()
        finally:
            self._open = self._pools[0]
        return lambda: None


class _Pool:
    """How many bytes are held, and were at the most."""

    def __init__(self) -> None:
        self.held = self.most = 0

    def take(self, size: int) -> None:
        self.held += size
        self.most = max(self.most, self.held)

    def give_back(self, size: int) -> None:
        self.held -= size

    def shrink(self) -> None:
        self.most = self.held
