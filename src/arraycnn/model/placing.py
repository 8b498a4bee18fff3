"""Which of a user's arrays lie on the backend's device, and which stay on the host to be read."""

from typing import Any

import numpy as np

from arraycnn.backends.backend import Backend
from arraycnn.data.image_source import ArraySource, ImageSource
from arraycnn.tree import Tree, map_leaves


class LeftOnHost(ImageSource):
    """Images (N, H, W, C), or labels (N, ...), that do not fit on the device: batches are read.

    Those that are read are of ``dtype``; the array itself stays as it is.
    """

    def __init__(self, array: np.ndarray, dtype: Any) -> None:
        self._array = array
        self.shape: Any = array.shape
        self.dtype = np.dtype(dtype)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return converted(self._array[indices], self.dtype)

    def read_part(self, where: slice) -> np.ndarray:
        return converted(self._array[where], self.dtype)


def placed(array: np.ndarray, dtype: Any, backend: Backend) -> ImageSource:
    """``array`` in ``dtype`` on the backend, or left on the host where it does not fit there."""
    if not backend.fits(array.size * np.dtype(dtype).itemsize):
        return LeftOnHost(array, dtype)
    # On the host, since no other library has every dtype of NumPy.
    return ArraySource(backend.asarray(converted(array, dtype)), backend.to_numpy)


def placed_tree(tree: Tree, dtype: str, backend: Backend) -> Tree:
    """NumPy's arrays in ``dtype`` on the backend; arrays that lie there already are themselves."""

    def place(leaf: Any) -> Any:
        return backend.asarray(leaf.astype(dtype) if isinstance(leaf, np.ndarray) else leaf)

    return map_leaves(place, tree)


def converted(array: np.ndarray, dtype: Any) -> np.ndarray:
    """``array`` in ``dtype``, itself where it is."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
        return array.astype(dtype)
