"""Conv2d: two-dimensional cross-correlation."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.layers.layer import (
    Context,
    Shape,
    Tree,
    check_image_shape,
    check_images,
    glorot_uniform,
)
from arraycnn.ops import Array
from arraycnn.ops.window import (
    Padding,
    Pair,
    Window,
    check_padding,
    pair,
    resolve_window,
)
from arraycnn.settings import check_count


@dataclass(frozen=True)
class Conv2d:
    """Slide ``filters`` learned windows over the image: (N, H, W, C) to (N, OH, OW, filters).

    Parameters
    ----------
    filters : int
        Number of output channels, F.
    kernel_size, stride : int or (int, int)
        Rows and columns of the window, and of its steps, in pixels.
    padding : "valid", "same" or (pad_h, pad_w)
        Zeros around the image: none; enough for ceil(size / stride) outputs; or so many pixels on
        each side.
    bias : bool
        Whether a learned number is added to each output channel.

    The parameters are ``weight``, (KH, KW, C, F), Glorot uniform at first, and ``bias``, (F,),
    zero.
    """

    filters: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Padding = "valid"
    bias: bool = True

    def __post_init__(self) -> None:
        check_count("Conv2d: filters", self.filters)
        pair("Conv2d", "kernel_size", self.kernel_size)
        pair("Conv2d", "stride", self.stride)
        check_padding("Conv2d", self.padding)

    def window(self, height: int, width: int) -> Window:
        """The window on images of ``height`` x ``width`` pixels."""
        return resolve_window("Conv2d", self.kernel_size, self.stride, self.padding, height, width)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("Conv2d", input_shape)
        window = self.window(height, width)
        pixels = window.kernel_size[0] * window.kernel_size[1]
        params = {
            "weight": glorot_uniform(
                rng,
                (*window.kernel_size, channels, self.filters),
                inputs=pixels * channels,
                outputs=pixels * self.filters,
            )
        }
        if self.bias:
            params["bias"] = np.zeros(self.filters)
        return params, {}, (*window.output_shape(height, width), self.filters)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("Conv2d", x, channels=params["weight"].shape[2])
        window = self.window(x.shape[1], x.shape[2])
        y = context.ops.conv2d(context.ops, x, params["weight"], params.get("bias"), window)
        return y, state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        (x,) = residuals
        window = self.window(x.shape[1], x.shape[2])
        dx, dweight, dbias = context.ops.conv2d_backward(
            context.ops, x, params["weight"], dy, window, need_dx
        )
        return dx, {"weight": dweight, "bias": dbias} if self.bias else {"weight": dweight}
