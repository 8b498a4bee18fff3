"""AdaptiveAvgPool2d: the means of as many parts of the image as are asked for."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import pad
from arraycnn.ops.window import Pair, pair


@dataclass(frozen=True)
class AdaptiveAvgPool2d:
    """Means of parts of any image, always as many: (N, H, W, C) to (N, OH, OW, C).

    Part i of n of an axis of ``size`` pixels begins at floor(i size / n) and ends before
    ceil((i + 1) size / n), as in PyTorch: parts overlap by a pixel, or are one pixel again and
    again, where the axis is no multiple of them.

    Parameters
    ----------
    output_size : int or (int, int)
        OH and OW.
    """

    output_size: Pair

    def __post_init__(self) -> None:
        pair("AdaptiveAvgPool2d", "output_size", self.output_size)

    @property
    def sizes(self) -> tuple[int, int]:
        """(OH, OW)."""
        return pair("AdaptiveAvgPool2d", "output_size", self.output_size)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        channels = check_image_shape("AdaptiveAvgPool2d", input_shape)[2]
        return {}, {}, (*self.sizes, channels)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("AdaptiveAvgPool2d", x)
        y = x
        for axis, count in zip((1, 2), self.sizes, strict=True):
            y = _means(y, axis, count)
        return y, state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (x,) = residuals
        for axis in (2, 1):
            dy = _shared_out(dy, axis, x.shape[axis])
        return dy, {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"nn.AdaptiveAvgPool2d({self.sizes})")


def _parts(size: int, count: int) -> list[tuple[int, int]]:
    """Where each of ``count`` parts begins, and where it ends."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _means(x: Array, axis: int, count: int) -> Array:
    xp, size = array_namespace(x), x.shape[axis]
    if size == count:
        return x
    parts = [x[_along(axis, *part)] for part in _parts(size, count)]
    return xp.concat([xp.mean(part, axis=axis, keepdims=True) for part in parts], axis=axis)


def _shared_out(dy: Array, axis: int, size: int) -> Array:
    """The adjoint of `_means` for an axis of ``size`` pixels."""
    xp, count = array_namespace(dy), dy.shape[axis]
    if size == count:
        return dy
    total: Array | None = None
    for number, (start, stop) in enumerate(_parts(size, count)):
        share = dy[_along(axis, number, number + 1)] / float(stop - start)
        wide = (*dy.shape[:axis], stop - start, *dy.shape[axis + 1 :])
        around = [(start, size - stop) if n == axis else (0, 0) for n in range(len(dy.shape))]
        part = pad(xp.broadcast_to(share, wide), around)
        total = part if total is None else total + part
    return total


def _along(axis: int, start: int, stop: int) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, slice(start, stop), ...)
