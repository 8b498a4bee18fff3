"""Launch code of max-pools."""

from __future__ import annotations

import math

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.max_pool2d import compiled_kernels as kernels
from arraycnn.ops.window import Pair, Window, pair


def max_pool2d(
    launcher: Launcher, x: np.ndarray, window: Window, ties: str
) -> tuple[np.ndarray, np.ndarray]:
    (x,) = launcher.floating("max_pool2d", x)
    if ties != "first" or not fits_byte(window.kernel_size) or any(window.padding):
        return generic.max_pool2d(x, window, ties)
    images, *size = x.shape
    shape = (images, *window.output_shape(size[0], size[1]), size[2])
    y, winners = launcher.empty(shape, x.dtype), launcher.empty(shape, "uint8")
    words = (x, y, winners, *size, *pool_words(window, size[0], size[1]))
    launcher.launch(kernels.pool, images, *words, like=x, by="block")
    return y, winners


def max_pool2d_backward(
    launcher: Launcher, dy: np.ndarray, winners: np.ndarray, input_shape: tuple[int, ...],
    window: Window, ties: str,
) -> np.ndarray:  # fmt: skip
    owner = "max_pool2d_backward"
    (dy,) = launcher.floating(owner, dy)
    check_arrays(owner, winners)
    if winners.dtype != np.uint8 or any(window.padding):
        return generic.max_pool2d_backward(dy, winners, input_shape, window, ties)
    winners = launcher.contiguous(winners)
    images, *size = input_shape
    dx = launcher.empty(tuple(input_shape), dy.dtype)
    words = (dy, winners, dx, *size, *pool_words(window, size[0], size[1]))
    launcher.launch(kernels.pool_backward, images, *words, like=dy, by="block")
    return dx


def at_winners(
    launcher: Launcher, x: np.ndarray, winners: np.ndarray, window: Window
) -> np.ndarray:
    (x,) = launcher.floating("at_winners", x)
    check_arrays("at_winners", winners)
    if winners.dtype != np.uint8 or any(window.padding):
        return generic.at_winners(x, winners, window)
    winners = launcher.contiguous(winners)
    images, *size = x.shape
    y = launcher.empty(winners.shape, x.dtype)
    words = (x, winners, y, *size, *pool_words(window, size[0], size[1]))
    launcher.launch(kernels.at_winners, images, *words, like=x, by="block")
    return y


def pool_words(pool: Window, height: int, width: int) -> tuple[int, ...]:
    return (*pool.kernel_size, *pool.stride, *pool.output_shape(height, width))


def fits_byte(kernel_size: Pair) -> bool:
    """Whether a place in a window of this size can be told by one byte."""
    return math.prod(pair("MaxPool2d", "kernel_size", kernel_size)) <= 256
