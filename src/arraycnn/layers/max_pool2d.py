"""MaxPool2d: keep the largest pixel of each window."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.layers.pool_padding import (
    check_pool_padding,
    cut,
    inside,
    padded,
    torch_pool,
)
from arraycnn.ops import Array
from arraycnn.ops.window import Padding, Pair, Window, pair, resolve_window


@dataclass(frozen=True)
class MaxPool2d:
    """The maximum over each window, channel by channel: (N, H, W, C) to (N, OH, OW, C).

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns of the window, in pixels.
    stride : int, (int, int) or None
        Steps of the window; None means the window's own size. Incomplete windows are dropped.
    ties : "first" or "all"
        Which of several equal maxima receives the gradient: the first in row-major order (as in
        PyTorch), or each of them the whole (as in the tutorial).
    padding : "valid", "same" or (pad_h, pad_w)
        Pixels around the image that are never the largest, as many as in `Conv2d`, and fewer than
        the window has rows and columns.
    """

    kernel_size: Pair
    stride: Pair | None = None
    ties: Literal["first", "all"] = "first"
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        pair("MaxPool2d", "kernel_size", self.kernel_size)
        if self.stride is not None:
            pair("MaxPool2d", "stride", self.stride)
        check_pool_padding("MaxPool2d", self.kernel_size, self.padding)
        if self.ties not in ("first", "all"):
            message = f'MaxPool2d: ties must be "first" or "all", got {self.ties!r}'
            raise InvalidValueError(message)

    def window(self, height: int, width: int) -> Window:
        """The window on images of ``height`` x ``width`` pixels."""
        stride = self.kernel_size if self.stride is None else self.stride
        return resolve_window("MaxPool2d", self.kernel_size, stride, self.padding, height, width)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("MaxPool2d", input_shape)
        return {}, {}, (*self.window(height, width).output_shape(height, width), channels)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("MaxPool2d", x)
        window = self.window(x.shape[1], x.shape[2])
        whole, _ = inside(x, window)
        y, winners = context.ops.max_pool2d(padded(x, window, -math.inf), whole, self.ties)
        return y, state, (x, winners)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        x, winners = residuals
        window = self.window(x.shape[1], x.shape[2])
        whole, shape = inside(x, window)
        dx = context.ops.max_pool2d_backward(dy, winners, shape, whole, self.ties)
        return cut(dx, x, window), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        window = self.window(*input_shape[:2])
        return torch_pool("MaxPool2d", self.kernel_size, self.stride, window, -math.inf)
