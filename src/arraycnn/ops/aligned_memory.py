"""Memory that begins where a line of the cache does.

NumPy's begins 16 or 32 bytes behind one: each vector of 64 bytes that is read or written there lies in
two lines, and each second one of 32 bytes.
"""

import math
from typing import Any

import numpy as np

LINE = 64
"""Bytes of a line."""


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new array in C order, not initialised."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE - 1, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size].view(dtype).reshape(shape)


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy in C order."""
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy
