"""Upsample2d: a larger image, of the nearest pixels or between them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import pad
from arraycnn.ops.window import Pair, pair


@dataclass(frozen=True)
class Upsample2d:
    """An image with ``scale`` times the rows and columns: (N, H, W, C) to (N, sH, sW, C).

    Parameters
    ----------
    scale : int or (int, int)
        For rows and columns.
    method : "nearest" or "bilinear"
        Each pixel repeated; or straight lines between the pixels' centres, the outermost numbers
        repeated (as PyTorch with ``align_corners=False``).
    """

    scale: Pair
    method: Literal["nearest", "bilinear"] = "nearest"

    def __post_init__(self) -> None:
        pair("Upsample2d", "scale", self.scale)
        if self.method not in ("nearest", "bilinear"):
            message = f'Upsample2d: method must be "nearest" or "bilinear", got {self.method!r}'
            raise InvalidValueError(message)

    @property
    def scales(self) -> tuple[int, int]:
        """For rows and for columns."""
        return pair("Upsample2d", "scale", self.scale)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("Upsample2d", input_shape)
        down, right = self.scales
        return {}, {}, (height * down, width * right, channels)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("Upsample2d", x)
        for axis, scale in zip((1, 2), self.scales, strict=True):
            x = self._upsampled(x, axis, scale)
        return x, state, ()

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        for axis, scale in zip((2, 1), reversed(self.scales), strict=True):
            dy = self._added_up(dy, axis, scale)
        return dy, {}

    def _upsampled(self, x: Array, axis: int, scale: int) -> Array:
        """``x`` with ``scale`` numbers for each along ``axis``."""
        if scale == 1:
            return x
        xp, size = array_namespace(x), x.shape[axis]
        if self.method == "nearest":
            numbers = [x] * scale
        else:
            first, last = x[_along(axis, 0, 1)], x[_along(axis, size - 1, size)]
            wide = xp.concat([first, x, last], axis=axis)
            numbers = []
            for start, share in _between(scale):
                left = wide[_along(axis, start, start + size)]
                right = wide[_along(axis, start + 1, start + 1 + size)]
                numbers.append((1.0 - share) * left + share * right)
        shape = (*x.shape[:axis], size * scale, *x.shape[axis + 1 :])
        return xp.reshape(xp.stack(numbers, axis=axis + 1), shape)

    def _added_up(self, dy: Array, axis: int, scale: int) -> Array:
        """The adjoint of `_upsampled`."""
        if scale == 1:
            return dy
        xp, size = array_namespace(dy), dy.shape[axis] // scale
        split = xp.reshape(dy, (*dy.shape[:axis], size, scale, *dy.shape[axis + 1 :]))
        if self.method == "nearest":
            return xp.sum(split, axis=axis + 1)
        # For the image with its outermost numbers twice.
        wide: Array = 0.0
        for number, (start, share) in enumerate(_between(scale)):
            part = split[(*(slice(None),) * (axis + 1), number, ...)]
            wide = wide + _padded((1.0 - share) * part, axis, start, 2 - start)
            wide = wide + _padded(share * part, axis, start + 1, 1 - start)
        first, last = wide[_along(axis, 0, 1)], wide[_along(axis, size + 1, size + 2)]
        dx = wide[_along(axis, 1, size + 1)] + _padded(first, axis, 0, size - 1)
        return dx + _padded(last, axis, size - 1, 0)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        settings = f'scale_factor={self.scales}, mode="{self.method}"'
        return TorchModule(f"nn.Upsample({settings})")


def _between(scale: int) -> list[tuple[int, float]]:
    """For each of ``scale`` new numbers: where it stands, once the outermost pixels are there twice.

    (place of the pixel before it, share of the pixel after that).
    """
    centres = [(number + 0.5) / scale - 0.5 for number in range(scale)]
    return [(0, centre + 1.0) if centre < 0.0 else (1, centre) for centre in centres]


def _along(axis: int, start: int, stop: int) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, slice(start, stop), ...)


def _padded(x: Array, axis: int, before: int, after: int) -> Array:
    return pad(x, [(before, after) if number == axis else (0, 0) for number in range(len(x.shape))])
