"""AvgPool2d: the mean of each window."""

from dataclasses import dataclass
from typing import Any

import numpy as np

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
class AvgPool2d:
    """The mean over each window, channel by channel: (N, H, W, C) to (N, OH, OW, C).

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns of the window, in pixels.
    stride : int, (int, int) or None
        Steps of the window; None means the window's own size. Incomplete windows are dropped.
    padding : "valid", "same" or (pad_h, pad_w)
        Zeros around the image, as in `Conv2d`, fewer than the window has rows and columns. They
        count in the mean, as in PyTorch.
    """

    kernel_size: Pair
    stride: Pair | None = None
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        pair("AvgPool2d", "kernel_size", self.kernel_size)
        if self.stride is not None:
            pair("AvgPool2d", "stride", self.stride)
        check_pool_padding("AvgPool2d", self.kernel_size, self.padding)

    def window(self, height: int, width: int) -> Window:
        """The window on images of ``height`` x ``width`` pixels."""
        stride = self.kernel_size if self.stride is None else self.stride
        return resolve_window("AvgPool2d", self.kernel_size, stride, self.padding, height, width)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("AvgPool2d", input_shape)
        return {}, {}, (*self.window(height, width).output_shape(height, width), channels)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("AvgPool2d", x)
        window = self.window(x.shape[1], x.shape[2])
        whole, _ = inside(x, window)
        return context.ops.avg_pool2d(padded(x, window, 0.0), whole), state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (x,) = residuals
        window = self.window(x.shape[1], x.shape[2])
        whole, shape = inside(x, window)
        return cut(context.ops.avg_pool2d_backward(dy, shape, whole), x, window), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        window = self.window(*input_shape[:2])
        return torch_pool("AvgPool2d", self.kernel_size, self.stride, window, 0.0)
