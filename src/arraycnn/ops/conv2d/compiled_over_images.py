"""Launch code of convolutions whose products have the images of the batch as rows."""

from __future__ import annotations

import math

import numpy as np

from arraycnn.ops.compiled.kernels.vectors import BYTES
from arraycnn.ops.compiled.launcher import ELEMENTS, Launcher
from arraycnn.ops.conv2d import compiled_over_images_kernels as kernels
from arraycnn.ops.conv2d.compiled_shapes import Convolution, odd_lines
from arraycnn.ops.dense.compiled_products import ROWS, VECTORS

_BLOCKS = 8
"""Of a launch, where there are images for so many: more threads are rare."""


def forward(
    launcher: Launcher, shape: Convolution, bias: np.ndarray, y: np.ndarray, relu: bool
) -> None:
    """``y`` of a convolution without a pool."""
    step = _columns(y)
    images, blocks = _groups(shape.images, -(-shape.filters // step))
    launch = kernels.Forward(
        x=shape.x, weight=shape.weight, bias=bias, y=y, sizes=shape.sizes, relu=relu,
        images=shape.images, block_filters=step, block_images=images,
    )  # fmt: skip
    room = shape.channels * step
    launcher.launch(kernels.forward, blocks, launch, like=y, room=room)


def rectify(launcher: Launcher, y: np.ndarray) -> None:
    """A ReLU in place, of what a pool leaves of few outputs."""
    launch = kernels.Rectify(y=y, size=y.size, block_size=ELEMENTS)
    launcher.launch(kernels.rectify, -(-y.size // ELEMENTS), launch, like=y)


def let_through(launcher: Launcher, dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``dy``, zero where ``y``, a ReLU's output, is zero."""
    passed = launcher.empty(dy.shape, dy.dtype)
    launch = kernels.LetThrough(dy=dy, y=y, passed=passed, size=dy.size, block_size=ELEMENTS)
    launcher.launch(kernels.let_through, -(-dy.size // ELEMENTS), launch, like=dy)
    return passed


def backward(
    launcher: Launcher,
    shape: Convolution,
    y: np.ndarray | None,
    dy: np.ndarray,
    dx: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(dweight, dbias); ``dx`` is written, where there is one. ``y`` is the output of a ReLU."""
    (rows, columns), filters, step = shape.outputs, shape.filters, _columns(dy)
    line = odd_lines(filters, dy.itemsize)
    passed = launcher.empty((rows * columns, shape.images, line), dy.dtype)
    dbias = launcher.empty((filters,), dy.dtype)
    sorting = kernels.ByOutput(
        dy=dy, y=y, passed=passed, dbias=dbias, images=shape.images, outputs=rows * columns,
        filters=filters, line=line, block_filters=step,
    )  # fmt: skip
    launcher.launch(kernels.by_output, -(-filters // step), sorting, like=dy)
    dweight = launcher.empty(shape.weight.shape, dy.dtype)
    summing = kernels.FilterGradient(
        x=shape.x, passed=passed, dweight=dweight, sizes=shape.sizes, images=shape.images,
        line=line, block_channels=step,
    )  # fmt: skip
    panels, taps = -(-shape.channels // step), math.prod(shape.window.kernel_size)
    launcher.launch(
        kernels.filter_gradient, taps * panels, summing, like=dy, room=shape.images * step
    )
    if dx is not None:
        images, blocks = _groups(shape.images, panels)
        passing = kernels.ImageGradient(
            weight=shape.weight, passed=passed, dx=dx, sizes=shape.sizes, images=shape.images,
            line=line, block_channels=step, block_images=images,
        )  # fmt: skip
        launcher.launch(kernels.image_gradient, blocks, passing, like=dy, room=filters * step)
    return dweight, dbias


def _groups(images: int, panels: int) -> tuple[int, int]:
    """(images of a block, blocks): threads share the images where there are few panels for them."""
    groups = max(1, min(-(-_BLOCKS // panels), images // (2 * ROWS)))
    of_one = -(-images // (groups * ROWS)) * ROWS
    return of_one, -(-images // of_one) * panels


def _columns(like: np.ndarray) -> int:
    """Of a tile of a product: its filters, or channels, stay near while all images are multiplied."""
    return VECTORS * (BYTES // like.itemsize)
