"""Images that are read when a batch needs them, so that a set may be larger than memory."""

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
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]

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


Images: TypeAlias = npt.NDArray[np.uint8] | ImageSource


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


def as_source(images: Any) -> Any:
    """``images``, a memory-mapped array as an `ImageSource`."""
    mapped = isinstance(images, np.memmap) and images.ndim in (3, 4)
    return MappedImages(images) if mapped else images


def select(images: Any, indices: npt.NDArray[np.integer[Any]]) -> Any:
    """The images at ``indices``: a copy of an array's, a selection of a source."""
    source = as_source(images)
    return source.select(indices) if isinstance(source, ImageSource) else images[indices]


def part(
    images: Any, where: slice, to_numpy: Callable[[Any], npt.NDArray[Any]] = np.asarray
) -> npt.NDArray[Any]:
    """The images ``where`` says, in host memory; those of an array there are not copied."""
    if isinstance(images, ImageSource):
        return images.read(np.arange(*where.indices(len(images))))
    return to_numpy(images[where, ...])


def rows(images: Any, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
    """The images at ``indices``, in memory."""
    return images.read(indices) if isinstance(images, ImageSource) else images[indices]
