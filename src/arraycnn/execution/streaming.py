"""A placement for sets that stay on the host: each batch is read when a step asks for it."""

from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.data.image_source import ImageSource
from arraycnn.execution.plan import Placement
from arraycnn.ops import Array, Kernels


class Streaming:
    """A `Placement` whose kernel ``gather`` also takes an `ImageSource`.

    Everything else is the placement's own, so a plan computes the same bits from a source as from
    an array of the same images. Floating images are converted to ``dtype``.
    """

    def __init__(self, placement: Placement, dtype: str) -> None:
        self._placement = placement
        self._dtype = dtype
        self._kernels = placement.kernels
        self.kernels: Kernels = replace(self._kernels, gather=self._gather)

    def asarray(self, array: Any) -> Array:
        return self._placement.asarray(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        return self._placement.to_numpy(array)

    def _gather(self, images: Any, indices: Array) -> Array:
        if isinstance(images, ImageSource):
            return self.asarray(self.read(images, self.to_numpy(indices)))
        return self._kernels.gather(images, indices)

    def read(self, images: ImageSource, indices: np.ndarray) -> np.ndarray:
        """The images at ``indices`` in the dtype that the network takes."""
        read = images.read(indices)
        return read.astype(self._dtype, copy=False) if read.dtype.kind == "f" else read
