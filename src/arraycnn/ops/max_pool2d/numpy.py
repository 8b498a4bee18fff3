"""Max pooling, of images and of the blocks in which a convolution leaves its outputs."""

from __future__ import annotations

import math

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.numpy.launcher import NUMBER, Launcher
from arraycnn.ops.numpy.masks import Mask
from arraycnn.ops.numpy.tasks import groups
from arraycnn.ops.window import Window

_TILE = 2**18
"""Numbers of an image tile."""


def max_pool2d(
    launcher: Launcher, x: np.ndarray, window: Window, ties: str, *, need_winners: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """See `arraycnn.ops.generic.max_pool2d`; no winners where they are not needed."""
    check_arrays("max_pool2d", x)
    rows, columns = window.output_shape(x.shape[1], x.shape[2])
    shape = (x.shape[0], rows, columns, x.shape[3])
    y = launcher.empty(shape, x.dtype)
    if ties != "first":
        all_winners = launcher.empty((math.prod(window.kernel_size), *shape), np.bool_)
        launcher.call(_all_winners, x, window, y, all_winners)
        return y, all_winners
    winners = launcher.empty(shape, winner_dtype(window)) if need_winners else None
    tasks, work = _tasks(x.shape)

    def task(number: int, place: int, part: slice) -> None:
        views = [x[part][window.pixels(offset, (rows, columns))] for offset in window.offsets()]
        pixels = launcher.scratch((len(views), *views[0].shape), x.dtype)
        for view, block in zip(views, pixels, strict=True):
            launcher.call(np.copyto, block, view)
        largest(launcher, pixels, y[part], None if winners is None else winners[part])

    launcher.share(tasks, task, work)
    return y, winners


def max_pool2d_backward(
    launcher: Launcher, dy: np.ndarray, winners: np.ndarray, input_shape: tuple[int, ...],
    window: Window, ties: str,
) -> np.ndarray:  # fmt: skip
    """See `arraycnn.ops.generic.max_pool2d_backward`."""
    check_arrays("max_pool2d_backward", dy, winners)
    dy = launcher.contiguous(dy)
    output = dy.shape[1:3]
    dx = launcher.empty(input_shape, dy.dtype)
    if ties != "first":
        launcher.call(_to_all_winners, dy, winners, window, dx)
        return dx
    tasks, work = _tasks(input_shape)

    def task(number: int, place: int, part: slice) -> None:
        share = launcher.scratch(dy[part].shape, dy.dtype)
        mask = Mask(launcher, share)
        launcher.call(dx[part].fill, 0)
        for winner, offset in enumerate(window.offsets()):
            pixels = dx[part][window.pixels(offset, output)]
            launcher.call(np.equal, winners[part], winner, out=mask.where)
            mask.keep(dy[part], share)
            launcher.call(np.add, pixels, share, out=pixels)

    launcher.share(tasks, task, work)
    return dx


def at_winners(
    launcher: Launcher, x: np.ndarray, winners: np.ndarray, window: Window
) -> np.ndarray:
    """See `arraycnn.ops.generic.at_winners`."""
    check_arrays("at_winners", x, winners)
    y = launcher.empty(winners.shape, x.dtype)
    tasks, work = _tasks(x.shape)

    def task(number: int, place: int, part: slice) -> None:
        won = launcher.scratch(winners[part].shape, np.bool_)
        for winner, offset in enumerate(window.offsets()):
            pixels = x[part][window.pixels(offset, winners.shape[1:3])]
            if winner == 0:
                launcher.call(np.copyto, y[part], pixels)
                continue
            launcher.call(np.equal, winners[part], winner, out=won)
            launcher.call(np.copyto, y[part], pixels, where=won)

    launcher.share(tasks, task, work)
    return y


def _all_winners(x: np.ndarray, window: Window, y: np.ndarray, winners: np.ndarray) -> None:
    y[...], winners[...] = generic.max_pool2d(x, window, "all")


def _to_all_winners(dy: np.ndarray, winners: np.ndarray, window: Window, dx: np.ndarray) -> None:
    dx[...] = generic.max_pool2d_backward(dy, winners, dx.shape, window, "all")


def winner_dtype(window: Window) -> type:
    """The dtype of the winners' places."""
    return np.uint8 if math.prod(window.kernel_size) <= 256 else np.int32


def largest(
    launcher: Launcher, pixels: np.ndarray, y: np.ndarray, winners: np.ndarray | None
) -> None:
    """Write the largest of each window's pixels, and the place of the first that is, in a task.

    ``pixels`` has those of each place together: (places, ...).
    """
    if winners is None:
        launcher.call(np.maximum, pixels[0], pixels[min(1, len(pixels) - 1)], out=y)
        for pixel in pixels[2:]:
            launcher.call(np.maximum, y, pixel, out=y)
        return
    if len(pixels) == 4:
        _largest_of_four(launcher, pixels, y, winners)
        return
    above = launcher.scratch(y.shape, np.bool_)
    launcher.call(np.copyto, y, pixels[0])
    launcher.call(winners.fill, 0)
    for place, pixel in enumerate(pixels[1:], start=1):
        launcher.call(np.greater, pixel, y, out=above)
        launcher.call(np.copyto, winners, place, where=above)
        launcher.call(np.maximum, y, pixel, out=y)


def _largest_of_four(
    launcher: Launcher, pixels: np.ndarray, y: np.ndarray, winners: np.ndarray
) -> None:
    pairs = pixels.reshape(2, 2, *y.shape)
    larger = launcher.scratch((2, *y.shape), y.dtype)
    places, below = launcher.scratch(larger.shape, np.uint8), launcher.scratch(y.shape, np.uint8)
    launcher.call(np.maximum, pairs[:, 0], pairs[:, 1], out=larger)
    launcher.call(np.greater, pairs[:, 1], pairs[:, 0], out=places.view(np.bool_))
    launcher.call(np.maximum, larger[0], larger[1], out=y)
    launcher.call(np.greater, larger[1], larger[0], out=below.view(np.bool_))
    # upper + below * (2 + lower - upper), in arithmetic that wraps: faster than choosing.
    upper, lower = places
    launcher.call(np.subtract, lower, upper, out=lower)
    launcher.call(np.add, lower, np.uint8(2), out=lower)
    launcher.call(np.multiply, lower, below, out=lower)
    launcher.call(np.add, upper, lower, out=winners)


def _tasks(shape: tuple[int, ...]) -> tuple[list[list[slice]], int]:
    numbers = math.prod(shape[1:])
    return groups(shape[0], max(1, _TILE // max(1, numbers))), NUMBER * numbers * shape[0]
