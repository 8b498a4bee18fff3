"""ConvTranspose2d: the gradient of a convolution for its image, as a layer: it makes images larger."""

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
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.window import Padding, Pair, Window, check_padding, pair, resolve_window
from arraycnn.setting_checks import check_count

_TORCH = '''
class CutConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of which each side is cut by its own: (left, right, top, bottom)."""

    def __init__(self, *args, sides, **kwargs):
        super().__init__(*args, **kwargs)
        self.sides = sides

    def forward(self, x):
        return nn.functional.pad(super().forward(x), [-pixels for pixels in self.sides])
'''


@dataclass(frozen=True)
class ConvTranspose2d:
    """Add a window of ``filters`` channels for each pixel: (N, H, W, C) to (N, OH, OW, filters).

    The adjoint of the `Conv2d` of the same settings, as in PyTorch and Keras.

    Parameters
    ----------
    filters : int
        Number of output channels, F.
    kernel_size, stride : int or (int, int)
        Rows and columns of the window, and of its steps in the output, in pixels.
    padding : "valid", "same" or (pad_h, pad_w)
        What is cut off around the output: nothing; as much as leaves size * stride pixels; or so many
        pixels on each side.
    output_padding : int or (int, int)
        Rows and columns more at the bottom and right, fewer than the stride; 0 with "same".
    bias : bool
        Whether a learned number is added to each output channel.
    initial : str
        What ``weight`` is at first, as in `Conv2d`.

    The parameters are ``weight``, (KH, KW, F, C), and ``bias``, (F,), zero at first.
    """

    filters: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Padding = "valid"
    output_padding: Pair = 0
    bias: bool = True
    initial: Initial = "glorot_uniform"

    def __post_init__(self) -> None:
        check_count("ConvTranspose2d: filters", self.filters)
        pair("ConvTranspose2d", "kernel_size", self.kernel_size)
        strides = pair("ConvTranspose2d", "stride", self.stride)
        check_padding("ConvTranspose2d", self.padding)
        more = pair("ConvTranspose2d", "output_padding", self.output_padding, minimum=0)
        limits = (1, 1) if self.padding == "same" else strides
        if any(pixels >= limit for pixels, limit in zip(more, limits, strict=True)):
            rule = '0 with "same"' if self.padding == "same" else "less than the stride"
            message = f"ConvTranspose2d: output_padding must be {rule}, got {self.output_padding!r}"
            raise InvalidValueError(message)
        check_initial("ConvTranspose2d", self.initial)

    def __repr__(self) -> str:
        return written_in_short(self, ("output_padding", "initial"))

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output for an image of ``height`` x ``width`` pixels."""
        kernel, stride, more = (
            pair("ConvTranspose2d", name, getattr(self, name), minimum=0)
            for name in ("kernel_size", "stride", "output_padding")
        )
        if self.padding == "same":
            return height * stride[0], width * stride[1]
        cut = (0, 0) if isinstance(self.padding, str) else self.padding
        rows, columns = (
            (size - 1) * stride[axis] + kernel[axis] - 2 * cut[axis] + more[axis]
            for axis, size in enumerate((height, width))
        )
        if rows < 1 or columns < 1:
            message = (
                f"ConvTranspose2d: padding must leave something of the output, got {self.padding!r} "
                f"for {height}x{width} pixels and a window of {self.kernel_size!r}; use less padding"
            )
            raise InvalidValueError(message)
        return rows, columns

    def window(self, height: int, width: int) -> Window:
        """The window of the convolution that this is the adjoint of, on this layer's output."""
        shape = self.output_shape(height, width)
        settings = self.kernel_size, self.stride, self.padding
        return resolve_window("ConvTranspose2d", *settings, *shape)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("ConvTranspose2d", input_shape)
        kernel = self.window(height, width).kernel_size
        pixels, shape = kernel[0] * kernel[1], (*kernel, self.filters, channels)
        ends = pixels * channels, pixels * self.filters
        params = {"weight": initial_values(self.initial, rng, shape, *ends)}
        if self.bias:
            params["bias"] = np.zeros(self.filters)
        return params, {}, (*self.output_shape(height, width), self.filters)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        weight = params["weight"]
        check_images("ConvTranspose2d", x, channels=weight.shape[3])
        xp, (images, height, width, channels) = array_namespace(x), x.shape
        # What `conv2d_backward` computes of the image's gradient, and nothing of the filters'.
        rows, filters = xp.reshape(x, (-1, channels)), xp.reshape(weight, (-1, channels))
        columns = context.ops.matmul(rows, filters.T)
        shape = images, *self.output_shape(height, width), self.filters
        y = context.ops.col2im(columns, shape, self.window(height, width))
        return (y + params["bias"] if self.bias else y), state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        (x,), weight, ops = residuals, params["weight"], context.ops
        window = self.window(x.shape[1], x.shape[2])
        _, dweight, _ = ops.conv2d_backward(ops, dy, weight, x, window, False)
        gradients = {"weight": dweight}
        if self.bias:
            gradients["bias"] = array_namespace(dy).sum(dy, axis=(0, 1, 2))
        return (ops.conv2d(ops, dy, weight, None, window) if need_dx else None), gradients

    def _beyond(self, height: int, width: int) -> tuple[int, int]:
        """How many rows and columns of the output no window reaches, before it is cut."""
        window, output = self.window(height, width), self.output_shape(height, width)
        whole, sizes = window.padded_shape(*output), (height, width)
        rows, columns = (
            whole[axis] - (sizes[axis] - 1) * window.stride[axis] - window.kernel_size[axis]
            for axis in (0, 1)
        )
        return rows, columns

    def torch_module(self, input_shape: Shape) -> TorchModule:
        height, width, channels = input_shape
        window, beyond = self.window(height, width), self._beyond(height, width)
        top, bottom, left, right = window.padding
        settings = [str(channels), str(self.filters), str(self.kernel_size)]
        if window.stride != (1, 1):
            settings.append(f"stride={self.stride}")
        if any(beyond):
            settings.append(f"output_padding={beyond}")
        if not self.bias:
            settings.append("bias=False")
        name, source = "nn.ConvTranspose2d", ""
        if (top, left) != (bottom, right):
            name, source = "CutConvTranspose2d", _TORCH
            settings.append(f"sides={(left, right, top, bottom)}")
        elif top or left:
            settings.append(f"padding={(top, left)}")
        return TorchModule(f"{name}({', '.join(settings)})", source, axes={"weight": (3, 2, 0, 1)})
