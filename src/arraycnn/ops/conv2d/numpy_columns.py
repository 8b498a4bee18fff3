"""The columns of a convolution: every window of a tile of images, as a row of a matrix.

Where pooling follows, the rows stand in blocks: first those of the pixels that are upper left in
their pooling windows, then those to the right of them, and so on. So the pool compares whole blocks,
each of which lies in one piece, instead of picking single pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.ops.window import Window

TILE_BYTES = 3 * 2**20
"""What the columns of the images computed at once may take.

Half of that or twice as much is as fast: less leaves the cache in peace but makes more calls."""

MOST_IMAGES = 32
"""Images of a tile: from here on more of them save no calls that show."""

_SHORT_RUN = 16
"""Below this many numbers in a window row, copying runs of pixels beats copying window rows."""

SINGLE = Window((1, 1))
"""A pool that leaves everything as it is."""


def images_a_tile(image: tuple[int, ...], itemsize: int, window: Window) -> int:
    """How many images (H, W, C) have columns of `TILE_BYTES`."""
    height, width, channels = image
    rows, columns = window.output_shape(height, width)
    size = rows * columns * math.prod(window.kernel_size) * channels * itemsize
    return min(max(TILE_BYTES // max(size, 1), 1), MOST_IMAGES)


def columns(launcher: Launcher, x: np.ndarray, window: Window, pool: Window) -> np.ndarray:
    """The columns of images ``x``, (n, H, W, C), in a task: (blocks * n * OH * OW, KH * KW * C).

    OH and OW are what ``pool``, whose windows do not overlap, makes of the convolution's output; a
    block has one pixel of each of its windows. Pixels that no pooling window has are left out.
    """
    output = pool.output_shape(*window.output_shape(x.shape[1], x.shape[2]))
    padded = with_padding(launcher, x, window)
    images, _, _, channels = x.shape
    image, row, column, number = padded.strides
    (down, right), (tall, wide) = window.stride, window.kernel_size
    pixels = (*pool.kernel_size, images, *output)
    steps = (down * row, right * column)
    strides = (*steps, image, pool.stride[0] * steps[0], pool.stride[1] * steps[1])
    shape = (math.prod(pixels), tall * wide * channels)
    if wide * channels >= _SHORT_RUN:
        matrix = launcher.scratch(shape, x.dtype)
        view = _view(padded, (*pixels, tall, wide * channels), (*strides, row, number))
        launcher.call(np.copyto, matrix.reshape(view.shape), view)
        return matrix
    # Few channels: the columns are built lying down, a run of pixels for each number of the window.
    lying = launcher.scratch(shape[::-1], x.dtype)
    view = _view(padded, (tall, wide, channels, *pixels), (row, column, number, *strides))
    launcher.call(np.copyto, lying.reshape(view.shape), view)
    return lying.T


def with_padding(launcher: Launcher, x: np.ndarray, window: Window) -> np.ndarray:
    """``x`` with the window's zeros around it, in a task."""
    if not any(window.padding):
        return x
    images, height, width, channels = x.shape
    top, _, left, _ = window.padding
    shape = (images, *window.padded_shape(height, width), channels)
    padded = launcher.scratch(shape, x.dtype)
    launcher.call(padded.fill, 0)
    launcher.call(np.copyto, padded[:, top : top + height, left : left + width], x)
    return padded


def _view(x: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    return as_strided(x, shape, strides, writeable=False)
