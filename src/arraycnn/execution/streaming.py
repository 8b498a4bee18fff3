"""Where a step's images come from: out of an array on the device, or read for it on the host."""

from typing import Any

import numpy as np

from arraycnn.data.image_source import ImageSource
from arraycnn.execution.plan import Placement
from arraycnn.ops import Array, Kernels


class Streaming:
    """A `Placement` that brings rows of an `ImageSource`, wherever they are.

    A plan computes the same bits from a source that is read as from an array of the same images.
    Floating images are converted to ``dtype``.
    """

    def __init__(self, placement: Placement, dtype: str) -> None:
        self._placement = placement
        self._dtype = dtype
        self.kernels: Kernels = placement.kernels

    def asarray(self, array: Any) -> Array:
        return self._placement.asarray(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        return self._placement.to_numpy(array)

    def bring(self, source: ImageSource, batch: np.ndarray, indices: Array) -> Array:
        """The rows at ``batch``, (N,) on the host, which on the device is ``indices``."""
        if source.resident is None:
            return self.asarray(self.read(source, batch))
        return self.kernels.gather(source.resident, indices)

    def read(self, source: ImageSource, indices: np.ndarray) -> np.ndarray:
        """The rows at ``indices`` in the dtype that the network takes."""
        read = source.read(indices)
        return read.astype(self._dtype, copy=False) if read.dtype.kind == "f" else read
