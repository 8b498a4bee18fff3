"""Products of matrices by BLAS, cut into tasks that write fixed parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.numpy.launcher import MOST_TASKS, NUMBER, WORTH, Launcher
from arraycnn.ops.numpy.tasks import singles

_SHORTEST = 32
"""Rows or columns of a part, at least: BLAS is slow on thin ones."""


class Product(NamedTuple):
    """The product of two matrices, (M, K) and (K, N), that is not computed before it is used.

    A dense layer's gradient is as large as its weights, and is used once, by the update: block by
    block, it need not go through memory.
    """

    a: np.ndarray
    b: np.ndarray

    def times(self, launcher: Launcher, factor: np.ndarray) -> Product:
        b = launcher.between(self.b.shape, self.b.dtype)
        launcher.call(np.multiply, self.b, factor, out=b)
        return Product(self.a, b)

    def write(self, launcher: Launcher, rows: slice, out: np.ndarray) -> None:
        """Write some rows of it."""
        _multiply(launcher, self.a[rows], self.b, out)


def matmul(launcher: Launcher, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """See `arraycnn.ops.generic.matmul`."""
    check_arrays("matmul", a, b)
    out = launcher.empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    product(launcher, a, b, out)
    return out


def product(launcher: Launcher, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write a @ b, (M, K) @ (K, N), into ``out``."""
    (rows, inner), columns = a.shape, b.shape[1]
    longest = max(rows, inner, columns)
    numbers = rows * inner + inner * columns + rows * columns
    work = rows * inner * columns + NUMBER * numbers
    parts = singles(longest, max(1, min(MOST_TASKS, longest // _SHORTEST, work // WORTH)))
    if inner > max(rows, columns) and len(parts) > 1:
        sums = launcher.empty((len(parts), rows, columns), out.dtype)

        def by_inner(number: int, place: int, part: slice) -> None:
            launcher.call(np.matmul, a[:, part], b[part], out=sums[number])

        launcher.share(parts, by_inner, work)
        launcher.call(np.add.reduce, sums, axis=0, out=out)
        return

    def task(number: int, place: int, part: slice) -> None:
        if len(parts) == 1:
            _multiply(launcher, a, b, out)
        elif rows >= columns:
            _multiply(launcher, a[part], b, out[part])
        else:
            _multiply(launcher, a, b[:, part], out[:, part])

    launcher.share(parts, task, work)


def _multiply(launcher: Launcher, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    if 1 in a.shape and out.flags.c_contiguous:
        # The weight gradient of one image: a quarter of the time that a general product takes. And
        # the product of one row begins a microsecond sooner.
        launcher.call(np.dot, a, b, out)
    else:
        launcher.call(np.matmul, a, b, out=out)


def _multiply_all(launcher: Launcher, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    launcher.call(np.matmul, a, b, out=out)


def add_product(
    launcher: Launcher, a: np.ndarray, b: np.ndarray, total: np.ndarray, place: int
) -> None:
    """Write a @ b into ``total``, or add it where ``place`` is not the first, in a task."""
    multiply = _multiply if a.ndim == 2 else _multiply_all
    if place == 0:
        multiply(launcher, a, b, total)
        return
    term = launcher.scratch(total.shape, total.dtype)
    multiply(launcher, a, b, term)
    launcher.call(np.add, total, term, out=total)
