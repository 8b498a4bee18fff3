"""ZeroPad2d: zeros around the image."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.ops import Array
from arraycnn.ops.arrays import pad


@dataclass(frozen=True)
class ZeroPad2d:
    """Rows and columns of zeros on each side: (N, H, W, C) to an image that much larger.

    Parameters
    ----------
    padding : int, (pad_h, pad_w) or (top, bottom, left, right)
        Pixels on each side; on both sides of each axis; or on each of four.
    """

    padding: int | tuple[int, int] | tuple[int, int, int, int]

    def __post_init__(self) -> None:
        value = self.padding
        numbers = value if isinstance(value, tuple) else (value,)
        is_int = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
        if not is_int or (isinstance(value, tuple) and len(value) not in (2, 4)):
            message = (
                "ZeroPad2d: padding must be an int, (pad_h, pad_w) or (top, bottom, left, right), "
                f"got {value!r}"
            )
            raise InvalidTypeError(message)
        if min(numbers) < 0:
            message = f"ZeroPad2d: padding must be at least 0, got {value!r}"
            raise InvalidValueError(message)

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """(top, bottom, left, right)."""
        match self.padding:
            case (rows, columns):
                return rows, rows, columns, columns
            case (top, bottom, left, right):
                return top, bottom, left, right
        return (self.padding,) * 4

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("ZeroPad2d", input_shape)
        top, bottom, left, right = self.sides
        return {}, {}, (height + top + bottom, width + left + right, channels)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("ZeroPad2d", x)
        top, bottom, left, right = self.sides
        return pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))), state, ()

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        top, bottom, left, right = self.sides
        return dy[:, top : dy.shape[1] - bottom, left : dy.shape[2] - right, :], {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        top, bottom, left, right = self.sides
        return TorchModule(f"nn.ZeroPad2d({(left, right, top, bottom)})")
