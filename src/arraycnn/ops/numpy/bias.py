"""Bias and ReLU, as calls on long rows and whole arrays: what NumPy has vector code for.

It adds a row of eight numbers to each of many rows at a sixth of the speed of adding two arrays, and
takes the larger of an array's numbers and one number at a fifth of the speed of two arrays.
"""

from __future__ import annotations

import numpy as np

from arraycnn.ops.numpy.launcher import Launcher


class BiasReLU:
    """Adds a bias and takes the ReLU, or one of the two, of outputs (N, H, W, F) in C order."""

    def __init__(
        self, launcher: Launcher, bias: np.ndarray | None, relu: bool, output: tuple[int, ...]
    ) -> None:
        """``output`` is (H, W, F)."""
        self._launcher, self._relu = launcher, relu
        self._row = None
        if bias is not None:  # a row of pixels at a time
            self._row = launcher.empty(output[1:], bias.dtype)
            launcher.call(np.copyto, self._row, bias)

    def apply(self, y: np.ndarray) -> None:
        """Change ``y``, some images, in a task."""
        if self._row is not None:
            rows = y.reshape(-1, self._row.size)
            self._launcher.call(np.add, rows, self._row.reshape(-1), out=rows)
        if self._relu:
            relu(self._launcher, y)


def relu(launcher: Launcher, y: np.ndarray) -> None:
    """Make every number below 0 of ``y`` 0."""
    launcher.call(np.maximum, y, launcher.zeros(y.shape, y.dtype), out=y)
