"""Where the values of a chunk lie while they are needed: memory of a task, used again and again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from arraycnn.ops.numpy.launcher import Launcher


class Registers:
    """Memory of the chunk at work; what is given back is taken again where it is large enough."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._free: list[np.ndarray] = []
        self._whole: dict[int, np.ndarray] = {}

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        size = max(math.prod(shape), 1) * dtype.itemsize
        fitting = [memory for memory in self._free if memory.size >= size]
        if fitting:
            memory = min(fitting, key=len)
            self._free = [other for other in self._free if other is not memory]
        else:
            memory = self._launcher.scratch((-(-size // 64) * 64,), np.uint8)
        array = memory[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
        self._whole[id(array)] = memory
        return array

    def give(self, array: np.ndarray) -> None:
        self._free.append(self._whole.pop(id(array)))


class Lasting:
    """Memory of values that all chunks of a loop read."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._held: list[np.ndarray] = []

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self._held.append(self._launcher.empty(shape, dtype))
        return self._held[-1]

    def give(self, array: np.ndarray) -> None:
        """It stays until the loop is over."""

    def leave(self, array: np.ndarray) -> None:
        """Let an array stay longer."""
        self._held = [other for other in self._held if other is not array]

    def end(self) -> None:
        for array in self._held:
            self._launcher.give_back(array)
