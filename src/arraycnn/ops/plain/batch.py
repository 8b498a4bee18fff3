"""What takes a batch out of a set, and bytes to numbers."""

from __future__ import annotations

import math

import numpy as np

from arraycnn.ops.host_launcher import check_arrays, check_bytes
from arraycnn.ops.plain.launcher import MOST_TASKS, NUMBER, WORTH, Launcher
from arraycnn.ops.plain.tasks import singles


def gather(launcher: Launcher, images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """See `arraycnn.ops.generic.gather`."""
    check_arrays("gather", images, indices)
    rows = launcher.empty((len(indices), *images.shape[1:]), images.dtype)
    parts, work = _parts(rows.shape)

    def task(number: int, place: int, part: slice) -> None:
        _take(launcher, images, indices[part], rows[part])

    launcher.share(parts, task, work)
    return rows


def rescale(launcher: Launcher, x: np.ndarray, dtype: str) -> np.ndarray:
    """See `arraycnn.ops.generic.rescale`."""
    check_arrays("rescale", x)
    y = launcher.empty(x.shape, dtype)
    parts, work = _parts(x.shape)

    def task(number: int, place: int, part: slice) -> None:
        _rescale(launcher, x[part] if x.ndim else x, y[part] if x.ndim else y)

    launcher.share(parts, task, work)
    return y


def gather_rescale(
    launcher: Launcher, images: np.ndarray, rows: np.ndarray, dtype: str
) -> np.ndarray:
    """Rows of a uint8 set as numbers: `rescale` of `gather`."""
    check_bytes("gather_rescale", images)
    check_arrays("gather_rescale", rows)
    y = launcher.empty((len(rows), *images.shape[1:]), dtype)
    parts, work = _parts(y.shape)

    def task(number: int, place: int, part: slice) -> None:
        taken = launcher.scratch(y[part].shape, np.uint8)
        _take(launcher, images, rows[part], taken)
        _rescale(launcher, taken, y[part])

    launcher.share(parts, task, work)
    return y


def _take(launcher: Launcher, images: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    # Rows are within range by contract; to check them, NumPy would fill a buffer first.
    launcher.call(images.take, rows, axis=0, out=out, mode="clip")


def _rescale(launcher: Launcher, x: np.ndarray, y: np.ndarray) -> None:
    launcher.call(np.divide, x, y.dtype.type(255.0), out=y)
    launcher.call(np.subtract, y, 0.5, out=y)


def _parts(shape: tuple[int, ...]) -> tuple[list[list[slice]], int]:
    """The first axis in parts, and how much work they are together."""
    work, rows = NUMBER * math.prod(shape), shape[0] if shape else 1
    return singles(rows, max(1, min(MOST_TASKS, rows, work // WORTH))), work
