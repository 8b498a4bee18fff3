"""Launch code of convolutions whose products have the images of the batch as rows."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.compiled.kernels.vectors import BYTES
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.conv2d import compiled_over_images_kernels as kernels
from arraycnn.ops.conv2d.compiled_shapes import Convolution, odd_lines
from arraycnn.ops.dense.compiled_products import VECTORS


def forward(
    launcher: Launcher, shape: Convolution, bias: np.ndarray, y: np.ndarray, relu: bool
) -> None:
    """``y`` of a convolution without a pool."""
    step = _columns(y)
    launch = kernels.Forward(
        x=shape.x, weight=shape.weight, bias=bias, y=y, sizes=shape.sizes, relu=relu,
        images=shape.images, block_filters=step,
    )  # fmt: skip
    blocks, room = -(-shape.filters // step), shape.channels * step
    launcher.launch(kernels.forward, blocks, launch, like=y, room=room)


def rectify(launcher: Launcher, y: np.ndarray) -> None:
    """A ReLU in place, of what a pool leaves of few outputs."""
    launch = kernels.Rectify(y=y, size=y.size)
    launcher.launch(kernels.rectify, 1, launch, like=y)


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
    passing = kernels.LetThrough(
        dy=dy, y=y, passed=passed, dbias=dbias, images=shape.images, outputs=rows * columns,
        filters=filters, line=line, block_filters=step,
    )  # fmt: skip
    launcher.launch(kernels.let_through, -(-filters // step), passing, like=dy)
    dweight = launcher.empty(shape.weight.shape, dy.dtype)
    launch = kernels.Backward(
        x=shape.x, weight=shape.weight, passed=passed, dx=dx, dweight=dweight, sizes=shape.sizes,
        images=shape.images, line=line, block_channels=step,
    )  # fmt: skip
    blocks, room = -(-shape.channels // step), (filters + shape.images) * step
    launcher.launch(kernels.backward, blocks, launch, like=dy, room=room)
    return dweight, dbias


def _columns(like: np.ndarray) -> int:
    """Of a tile of a product: its filters, or channels, stay near while all images are multiplied."""
    return VECTORS * (BYTES // like.itemsize)
