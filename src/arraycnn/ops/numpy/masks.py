"""Numbers let through or held back by a condition: their bits times 1 or 0, for `numpy.where` is ten
times slower. As integers, so what is not finite is held back, too."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.numpy.launcher import Launcher

_INTEGERS = {4: np.int32, 8: np.int64}


class Mask:
    """Memory of a task to let numbers of the shape of ``values`` through, or not."""

    def __init__(self, launcher: Launcher, values: np.ndarray) -> None:
        self._launcher = launcher
        self._integer = _INTEGERS[values.dtype.itemsize]
        self.where = launcher.scratch(values.shape, np.bool_)
        """Which numbers pass: to be written before each `keep`."""

    def keep(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write ``values``, which are contiguous, where they pass, elsewhere 0.

        They may have fewer axes than the mask, and are then used again and again.
        """
        bits, ones = values.view(self._integer), self.where.view(np.int8)
        self._launcher.call(np.multiply, bits, ones, out=out.view(self._integer))


def let_through(launcher: Launcher, dy: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Write ``dy``, which is contiguous, where y > 0, elsewhere 0, in a task."""
    mask = Mask(launcher, dy)
    launcher.call(np.greater, y, 0.0, out=mask.where)
    mask.keep(dy, out)
