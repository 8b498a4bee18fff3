"""Memory that recordings share, and memory of a task: handed out piece by piece from few large ones."""

from __future__ import annotations

import math
from bisect import insort

import numpy as np

from arraycnn.ops.aligned_memory import LINE, aligned_empty

_CHUNK = 2**16
"""Bytes that an arena grows by, at least."""

_ROOM = 2**24
"""Bytes of scratch to begin with, more than most parts need: what is not touched takes no memory."""


class Arena:
    """Memory that is handed out piece by piece, each where it first fits.

    It is all taken back at once, or piece by piece: what is recorded runs in order, so a piece that
    is not needed any more may be handed out again.
    """

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self._free: list[tuple[int, int, int]] = []  # (chunk, first, last), in order
        self._taken: dict[int, tuple[int, int, int]] = {}  # by address

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.size for chunk in self._chunks)

    def clear(self) -> None:
        """Take all back."""
        self._free = [(place, 0, chunk.size) for place, chunk in enumerate(self._chunks)]
        self._taken = {}

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = math.prod(shape) * dtype.itemsize
        size = -(-max(count, 1) // LINE) * LINE
        fits = (n for n, (_, first, last) in enumerate(self._free) if first + size <= last)
        number = next(fits, None)
        if number is None:
            self._grow(size)
            number = len(self._free) - 1
        place, first, last = self._free[number]
        del self._free[number]
        if first + size < last:
            self._free.insert(number, (place, first + size, last))
        array = self._chunks[place][first : first + count].view(dtype).reshape(shape)
        self._taken[self._address(place, first)] = place, first, first + size
        return array

    def taken(self) -> set[int]:
        """The addresses of what is handed out."""
        return set(self._taken)

    def give_back(self, address: int) -> None:
        """Take back the array at ``address``; of another's memory, do nothing."""
        piece = self._taken.pop(address, None)
        if piece is None:
            return
        place, first, last = piece
        for other in list(self._free):
            if other[0] == place and other[2] == first:
                first = other[1]
            elif other[0] == place and other[1] == last:
                last = other[2]
            else:
                continue
            self._free.remove(other)
        insort(self._free, (place, first, last))

    def _grow(self, size: int) -> None:
        size = max(-(-size // LINE) * LINE, _CHUNK)
        self._free.append((len(self._chunks), 0, size))
        self._chunks.append(aligned_empty((size,), np.uint8))

    def _address(self, place: int, first: int) -> int:
        return self._chunks[place].ctypes.data + first


class Scratch:
    """Memory that is handed out piece by piece, and all at once taken back."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._used = 0

    @property
    def size(self) -> int:
        return self._memory.size

    def clear(self) -> None:
        self._used = 0

    def mark(self) -> tuple[np.ndarray, int]:
        return self._memory, self._used

    def release(self, mark: tuple[np.ndarray, int]) -> None:
        memory, used = mark
        self._used = used if memory is self._memory else 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = math.prod(shape) * dtype.itemsize
        first, last = self._used, self._used + count
        if last > self._memory.size:  # arrays of before keep the memory they are in
            self._memory = aligned_empty((max(2 * last, _ROOM),), np.uint8)
            first, last = 0, count
        self._used = -(-last // LINE) * LINE
        return self._memory[first:last].view(dtype).reshape(shape)
