"""Launch code of max-pools."""

from __future__ import annotations

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.max_pool2d import compiled_kernels as kernels
from arraycnn.ops.max_pool2d import has_kernel
from arraycnn.ops.window import Window


def max_pool2d(
    launcher: Launcher, x: np.ndarray, window: Window, ties: str
) -> tuple[np.ndarray, np.ndarray]:
    (x,) = launcher.floating("max_pool2d", x)
    if not has_kernel(window, ties):
        return generic.max_pool2d(x, window, ties)
    return pooled(launcher, x, window, "block")


def pooled(
    launcher: Launcher, x: np.ndarray, window: Window, by: str
) -> tuple[np.ndarray, np.ndarray]:
    """(y, winners); ``by`` as in `Launcher.launch`: "" where another launch of its step is so."""
    images, height, width, channels = x.shape
    shape = (images, *window.output_shape(height, width), channels)
    y, winners = launcher.empty(shape, x.dtype), launcher.empty(shape, "uint8")
    launch = kernels.Pool(
        x=x, y=y, winners=winners, height=height, width=width, channels=channels,
        window=pool_window(window, height, width),
    )  # fmt: skip
    launcher.launch(kernels.pool, images, launch, like=x, by=by)
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
    return spread(launcher, dy, winners, input_shape, window, "block")


def spread(
    launcher: Launcher, dy: np.ndarray, winners: np.ndarray, input_shape: tuple[int, ...],
    window: Window, by: str,
) -> np.ndarray:  # fmt: skip
    """dx; ``by`` as above."""
    winners = launcher.contiguous(winners)
    images, height, width, channels = input_shape
    dx = launcher.empty(tuple(input_shape), dy.dtype)
    launch = kernels.PoolBackward(
        dy=dy, winners=winners, dx=dx, height=height, width=width, channels=channels,
        window=pool_window(window, height, width),
    )  # fmt: skip
    launcher.launch(kernels.pool_backward, images, launch, like=dy, by=by)
    return dx


def at_winners(
    launcher: Launcher, x: np.ndarray, winners: np.ndarray, window: Window
) -> np.ndarray:
    (x,) = launcher.floating("at_winners", x)
    check_arrays("at_winners", winners)
    if winners.dtype != np.uint8 or any(window.padding):
        return generic.at_winners(x, winners, window)
    winners = launcher.contiguous(winners)
    images, height, width, channels = x.shape
    y = launcher.empty(winners.shape, x.dtype)
    launch = kernels.AtWinners(
        x=x, winners=winners, y=y, height=height, width=width, channels=channels,
        window=pool_window(window, height, width),
    )  # fmt: skip
    launcher.launch(kernels.at_winners, images, launch, like=x, by="block")
    return y


def pool_window(window: Window, height: int, width: int) -> kernels.PoolWindow:
    """The windows in an image of ``height`` x ``width``."""
    output_height, output_width = window.output_shape(height, width)
    return kernels.PoolWindow(
        kernel_height=window.kernel_size[0], kernel_width=window.kernel_size[1],
        stride_height=window.stride[0], stride_width=window.stride[1],
        output_height=output_height, output_width=output_width,
    )  # fmt: skip


NO_POOL = kernels.PoolWindow(
    kernel_height=0,
    kernel_width=0,
    stride_height=0,
    stride_width=0,
    output_height=0,
    output_width=0,
)
"""Where none follows."""
