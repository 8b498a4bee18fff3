"""Conv2d: two-dimensional cross-correlation."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.initial_values import Initial, check_initial, initial_values
from arraycnn.layers.layer import (
    Context,
    Shape,
    Tree,
    check_image_shape,
    check_images,
    written_in_short,
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
from arraycnn.setting_checks import check_count

_TORCH = '''
class PaddedConv2d(nn.Conv2d):
    """A convolution with its own padding on each side: (left, right, top, bottom)."""

    def __init__(self, *args, sides, **kwargs):
        super().__init__(*args, **kwargs)
        self.sides = sides

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.sides))
'''


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
    dilation : int or (int, int)
        How far apart the window's own rows and columns are.
    groups : int
        Channels and filters are cut into as many groups, each convolved by itself; as many as
        channels make a depthwise convolution.
    initial : str
        What ``weight`` is at first: "glorot_uniform", "glorot_normal", "he_uniform", "he_normal",
        "orthogonal" or "zeros" (`initial_values`).

    The parameters are ``weight``, (KH, KW, C / groups, F), and ``bias``, (F,), zero at first.
    """

    filters: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Padding = "valid"
    bias: bool = True
    dilation: Pair = 1
    groups: int = 1
    initial: Initial = "glorot_uniform"

    def __post_init__(self) -> None:
        check_count("Conv2d: filters", self.filters)
        pair("Conv2d", "kernel_size", self.kernel_size)
        pair("Conv2d", "stride", self.stride)
        check_padding("Conv2d", self.padding)
        pair("Conv2d", "dilation", self.dilation)
        check_count("Conv2d: groups", self.groups)
        if self.filters % self.groups:
            message = (
                f"Conv2d: groups must divide the filters, got {self.groups} for {self.filters} "
                "filters; take a multiple of the groups as filters"
            )
            raise InvalidValueError(message)
        check_initial("Conv2d", self.initial)

    def __repr__(self) -> str:
        return written_in_short(self, ("dilation", "groups", "initial"))

    @property
    def is_grouped(self) -> bool:
        """Whether it has groups or dilation, which most kernels of convolutions do not know."""
        return self.groups > 1 or self.dilation not in (1, (1, 1))

    def window(self, height: int, width: int) -> Window:
        """The window on images of ``height`` x ``width`` pixels."""
        shape = height, width, self.dilation
        return resolve_window("Conv2d", self.kernel_size, self.stride, self.padding, *shape)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("Conv2d", input_shape)
        window = self.window(height, width)
        if channels % self.groups:
            message = (
                f"Conv2d: groups must divide the channels, got {self.groups} for {channels} "
                "channels; choose groups that do"
            )
            raise InvalidValueError(message)
        pixels = window.kernel_size[0] * window.kernel_size[1]
        own = channels // self.groups
        shape = (*window.kernel_size, own, self.filters)
        ends = pixels * own, pixels * self.filters // self.groups
        params = {"weight": initial_values(self.initial, rng, shape, *ends)}
        if self.bias:
            params["bias"] = np.zeros(self.filters)
        return params, {}, (*window.output_shape(height, width), self.filters)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("Conv2d", x, channels=params["weight"].shape[2] * self.groups)
        window, ops = self.window(x.shape[1], x.shape[2]), context.ops
        convolve = ops.grouped_conv2d if self.is_grouped else ops.conv2d
        y = convolve(context.ops, x, params["weight"], params.get("bias"), window)
        return y, state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        (x,) = residuals
        window, ops = self.window(x.shape[1], x.shape[2]), context.ops
        backward = ops.grouped_conv2d_backward if self.is_grouped else ops.conv2d_backward
        dx, dweight, dbias = backward(context.ops, x, params["weight"], dy, window, need_dx)
        return dx, {"weight": dweight, "bias": dbias} if self.bias else {"weight": dweight}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        height, width, channels = input_shape
        window = self.window(height, width)
        top, bottom, left, right = window.padding
        settings = [str(channels), str(self.filters), str(self.kernel_size)]
        if window.stride != (1, 1):
            settings.append(f"stride={self.stride}")
        if window.dilation != (1, 1):
            settings.append(f"dilation={self.dilation}")
        if self.groups > 1:
            settings.append(f"groups={self.groups}")
        name, source = "nn.Conv2d", ""
        if (top, left) != (bottom, right):
            name, source = "PaddedConv2d", _TORCH
            settings.append(f"sides={(left, right, top, bottom)}")
        elif self.padding == "same" and window.stride == (1, 1):
            settings.append('padding="same"')
        elif (top, left) != (0, 0):
            settings.append(f"padding={top if top == left else (top, left)}")
        if not self.bias:
            settings.append("bias=False")
        return TorchModule(f"{name}({', '.join(settings)})", source, axes={"weight": (3, 2, 0, 1)})
