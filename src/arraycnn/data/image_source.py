"""Sets of images as all of the library reads them, in memory or not.

`as_source` alone asks what a user's images are. What it gives is an `ImageSource`, of which an array
is one kind, and a storage that is read batch by batch another; labels of a training are one, too.
"""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

# Mapped pages count as memory of the process until they are given back.
_GIVEN_BACK_BYTES = 2**26
_AROUND_BYTES = 2**16  # that the system maps about a page that was asked for


class ImageSource(ABC):
    """A set of images on the host of which only some are in memory.

    `arraycnn.Model` takes one wherever it takes an array of images, and reads one batch at a time.
    Subclass it for a storage of your own.

    Attributes
    ----------
    shape : (N, H, W, C)
    dtype : numpy.dtype
        uint8, or a floating type for networks without `Rescale`.
    resident : array or None
        All images as one array, in memory or on a device, where they lie so. None, as it is in a
        storage of your own, where they are to be read.
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    resident: Any = None

    @abstractmethod
    def read(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        """The images at ``indices``, (M,), in this order: an array (M, H, W, C) of ``dtype``.

        Called from several threads at once.
        """

    def __len__(self) -> int:
        return self.shape[0]

    def select(self, indices: npt.NDArray[np.integer[Any]]) -> ImageSource:
        """The set that consists of the images at ``indices``, none of them read."""
        return _Selection(self, np.asarray(indices))

    def read_part(self, where: slice) -> npt.NDArray[Any]:
        """The images that ``where`` says, as `read` gives them; those of an array are not copied."""
        return self.read(np.arange(*where.indices(len(self))))


Images: TypeAlias = npt.NDArray[np.uint8] | ImageSource


class ArraySource(ImageSource):
    """Images (N, H, W, C), or labels (N,), that lie in one array: NumPy's, or one on a device.

    ``to_numpy`` brings some of a device's to the host.
    """

    def __init__(
        self, array: Any, to_numpy: Callable[[Any], npt.NDArray[Any]] = np.asarray
    ) -> None:
        self.resident = array
        self._to_numpy = to_numpy

    @property
    def shape(self) -> Any:  # type: ignore[override]
        return tuple(self.resident.shape)

    @property
    def dtype(self) -> Any:  # type: ignore[override]
        return self.resident.dtype

    def read(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        return self._to_numpy(self.resident)[indices]

    def select(self, indices: npt.NDArray[np.integer[Any]]) -> ImageSource:
        return ArraySource(self.read(indices))

    def read_part(self, where: slice) -> npt.NDArray[Any]:
        return self._to_numpy(self.resident[where, ...])


class MappedImages(ImageSource):
    """The images of a `numpy.memmap`, (N, H, W, C) or (N, H, W), uint8 or floating."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array[..., np.newaxis] if array.ndim == 3 else array
        self.shape = self._array.shape
        self.dtype = array.dtype
        self._bytes_read = 0

    def read(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        images = np.asarray(self._array[indices])
        self._bytes_read += images.nbytes + len(images) * _AROUND_BYTES
        if self._bytes_read > _GIVEN_BACK_BYTES:
            self._bytes_read = 0
            self._give_back()
        return images

    def _give_back(self) -> None:
        base: Any = self._array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


class _Selection(ImageSource):
    def __init__(self, source: ImageSource, indices: npt.NDArray[np.integer[Any]]) -> None:
        self._source, self._indices = source, indices
        self.shape = (len(indices), *source.shape[1:])
        self.dtype = source.dtype

    def read(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
        return self._source.read(self._indices[indices])

    def select(self, indices: npt.NDArray[np.integer[Any]]) -> ImageSource:
        return _Selection(self._source, self._indices[indices])


def as_source(images: Any) -> ImageSource:
    """What a user has, a source, a memory-mapped array or another, as an `ImageSource`."""
    if isinstance(images, ImageSource):
        return images
    mapped = isinstance(images, np.memmap) and images.ndim in (3, 4)
    return MappedImages(images) if mapped else ArraySource(images)


def in_memory(images: Any) -> bool:
    """Whether an array or a source is in memory, so that looking at all of it costs little."""
    return as_source(images).resident is not None


def select(images: Any, indices: npt.NDArray[np.integer[Any]]) -> Any:
    """The images at ``indices``: a copy of an array's, a selection of a source."""
    chosen = as_source(images).select(indices)
    return chosen if chosen.resident is None else chosen.resident


def part(images: Any, where: slice) -> npt.NDArray[Any]:
    """The images that ``where`` says, in host memory; those of an array there are not copied."""
    return as_source(images).read_part(where)


def rows(images: Any, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
    """The images at ``indices``, in memory."""
    return as_source(images).read(indices)
