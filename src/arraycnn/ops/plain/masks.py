"""Numbers let through or held back by a condition: as bits, for `numpy.where` is ten times slower."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.plain.launcher import Launcher

_INTEGERS = {4: np.int32, 8: np.int64}


class Mask:
    """Memory of a task to let numbers of the shape of ``values`` through, or not."""

    def __init__(self, launcher: Launcher, values: np.ndarray) -> None:
        self._launcher = launcher
        self._integer = _INTEGERS[values.dtype.itemsize]
        self.where = launcher.scratch(values.shape, np.bool_)
        """Which numbers pass: to be written before each `keep`, which spends it."""
        self._bits = launcher.scratch(values.shape, self._integer)

    def keep(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write ``values``, which are contiguous, where they pass, elsewhere 0.

        They may have fewer axes than the mask, and are then used again and again.
        """
        call, byte = self._launcher.call, self.where.view(np.int8)
        call(np.negative, byte, out=byte)  # True is 1, and -1 has every bit
        call(np.copyto, self._bits, byte)
        call(np.bitwise_and, values.view(self._integer), self._bits, out=out.view(self._integer))


def let_through(launcher: Launcher, dy: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Write ``dy``, which is contiguous, where y > 0, elsewhere 0, in a task."""
    mask = Mask(launcher, dy)
    launcher.call(np.greater, y, 0.0, out=mask.where)
    mask.keep(dy, out)
