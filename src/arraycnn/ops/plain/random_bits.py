"""Dropout, whose bits are the generic generator's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.plain.launcher import NUMBER, Launcher
from arraycnn.ops.plain.masks import Mask
from arraycnn.ops.plain.tasks import groups

_CALLS = 100
"""How many passes over the numbers their bits take."""

_TILE = 2**14
"""Numbers whose bits are made at once: they stay in the cache."""


def dropout(
    launcher: Launcher, ops: Kernels, x: np.ndarray, rate: float, seed: np.ndarray,
    step: np.ndarray, layer: int, indices: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """See `arraycnn.ops.generic.dropout`."""
    check_arrays("dropout", x, seed, step, indices)
    y, keep = launcher.empty(x.shape, x.dtype), launcher.empty(x.shape, np.bool_)

    def task(number: int, place: int, part: slice) -> None:
        chosen = (seed, step, layer, indices[part])
        launcher.call(_dropout, x[part], rate, chosen, y[part], keep[part])

    tasks, work = _tasks(x.shape, _CALLS)
    launcher.share(tasks, task, work)
    return y, keep


def _dropout(
    x: np.ndarray, rate: float, chosen: tuple[Any, ...], y: np.ndarray, keep: np.ndarray
) -> None:
    y[...], keep[...] = generic.dropout(GENERIC, x, rate, *chosen)


def dropout_backward(
    launcher: Launcher, dy: np.ndarray, keep: np.ndarray, rate: float
) -> np.ndarray:
    """See `arraycnn.ops.generic.dropout_backward`."""
    check_arrays("dropout_backward", dy, keep)
    dy = launcher.contiguous(dy)
    dx = launcher.empty(dy.shape, dy.dtype)

    def task(number: int, place: int, part: slice) -> None:
        mask = Mask(launcher, dy[part])
        launcher.call(np.copyto, mask.where, keep[part])
        launcher.call(np.divide, dy[part], 1.0 - rate, out=dx[part])
        mask.keep(dx[part], dx[part])

    tasks, work = _tasks(dy.shape, 1)
    launcher.share(tasks, task, work)
    return dx


def _tasks(shape: tuple[int, ...], passes: int) -> tuple[list[list[slice]], int]:
    numbers = math.prod(shape[1:])
    return groups(shape[0], max(1, _TILE // max(1, numbers))), NUMBER * passes * numbers * shape[0]
