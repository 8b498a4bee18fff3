"""Launch code of what takes a batch out of a set."""

from __future__ import annotations

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.compiled.kernels import steps as kernels
from arraycnn.ops.compiled.launcher import ELEMENTS, Launcher, check_integers
from arraycnn.ops.host_launcher import check_arrays, check_bytes


def gather_rescale(
    launcher: Launcher, images: np.ndarray, rows: np.ndarray | None, dtype: str
) -> np.ndarray:
    """Rows of a uint8 set, at ``rows`` or all of them, as numbers: `rescale` of `gather`."""
    check_bytes("gather_rescale", images)
    if rows is not None:
        check_integers("gather_rescale", rows)
    images = launcher.contiguous(images)
    count = images.shape[0] if rows is None else rows.shape[0]
    x = launcher.empty((count, *images.shape[1:]), dtype)
    size = x.size // max(count, 1)
    per = max(1, ELEMENTS // max(size, 1))
    words = (images, rows, x, size, count, per, images.shape[0])
    launcher.launch(kernels.gather_rescale, -(-count // per), *words, like=x)
    return x


def rescale(launcher: Launcher, x: np.ndarray, dtype: str) -> np.ndarray:
    if x.ndim == 0:
        return generic.rescale(x, dtype)
    return gather_rescale(launcher, x, None, dtype)


def gather(launcher: Launcher, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    check_arrays("gather", images)
    check_integers("gather", indices)
    if images.dtype.kind != "f" or images.ndim < 2:
        return generic.gather(images, indices)
    (images,) = launcher.floating("gather", images)
    count = indices.shape[0]
    x = launcher.empty((count, *images.shape[1:]), images.dtype)
    size = x.size // max(count, 1)
    per = max(1, ELEMENTS // max(size, 1))
    words = (images, indices, x, size, count, per, images.shape[0])
    launcher.launch(kernels.gather, -(-count // per), *words, like=x)
    return x
