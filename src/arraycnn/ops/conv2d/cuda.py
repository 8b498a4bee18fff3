"""Launch code of convolution.cu. Contracts in `arraycnn.ops.generic`.

Columns, KH * KW times as large as the image, are never in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.conv2d.cuda_patches import PRECISIONS, Windows, on_patches
from arraycnn.ops.cuda.block_sizes import Asked
from arraycnn.ops.cuda.checks import check_shape, of_dtype, stored_as
from arraycnn.ops.cuda.launcher import Launcher, blocks
from arraycnn.ops.cuda.products import Product, launch_gradients, launch_product
from arraycnn.ops.cuda.tiles import (
    Epilogue,
    Late,
    Result,
    bias_relu,
    form,
    kind,
    tiling,
    weight_gradient,
    width_of_copy,
)
from arraycnn.ops.rounded import ROUNDED_BITS
from arraycnn.ops.window import Window

if TYPE_CHECKING:
    from arraycnn.ops.kernels import Kernels

_MOST = 2**31
"""Indices inside an image and inside the weights are 32 bits in the kernels."""


def conv2d(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    *,
    precision: str,
    stored: Any = None,
) -> Array:
    """``stored``, here and below, as `stored_as` has it: the dtype of y, or of dx."""
    return _forward(launcher, "conv2d", x, weight, bias, window, precision, stored)


def conv2d_with_epilogue(
    launcher: Launcher,
    x: Array,
    weight: Array,
    window: Window,
    epilogue: Epilogue,
    *,
    precision: str,
    stored: Any = None,
) -> Array:
    """`conv2d` without a bias, each number of it as the epilogue has it."""
    owner = "conv2d_with_epilogue"
    return _forward(launcher, owner, x, weight, None, window, precision, stored, epilogue=epilogue)


def conv2d_relu(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    *,
    precision: str,
    stored: Any = None,
) -> Array:
    """max(`conv2d`, 0)."""
    owner = "conv2d_relu"
    return _forward(launcher, owner, x, weight, bias, window, precision, stored, relu=True)


def conv2d_backward(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    dy: Array,
    window: Window,
    need_dx: bool,
    *,
    precision: str,
    late: Late | None = None,
    in_parts: bool = False,
    together: bool = False,
    stored: Any = None,
) -> tuple[Array | None, Array, Array]:
    """With ``late``, dweight is what that makes of it; ``in_parts``, it and dbias may be parts, along
    an axis in front, whose sum is still to be taken; ``together``, one kernel makes all gradients
    where one can."""
    owner = "conv2d_backward"
    how = (precision, late, in_parts, together, stored)
    return _backward(launcher, owner, x, weight, dy, None, window, need_dx, *how)


def conv2d_relu_backward(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    y: Array,
    dy: Array,
    window: Window,
    need_dx: bool,
    *,
    precision: str,
    late: Late | None = None,
    in_parts: bool = False,
    together: bool = False,
    stored: Any = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `conv2d_relu`, whose output was ``y``: (dx or None, dweight, dbias)."""
    owner = "conv2d_relu_backward"
    how = (precision, late, in_parts, together, stored)
    return _backward(launcher, owner, x, weight, dy, y, window, need_dx, *how)


def _forward(
    launcher: Launcher,
    owner: str,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    precision: str,
    stored: Any,
    relu: bool = False,
    epilogue: Epilogue | None = None,
) -> Array:
    sizes = _sizes(owner, x, weight, window)
    filters = weight.shape[3]
    x, weight, *biases = stored_as(
        launcher, owner, stored, x, weight, *([] if bias is None else [bias])
    )
    if bias is not None:
        check_shape(f"{owner} on CUDA: bias", bias, (filters,))
        bias = biases[0]
    output = window.output_shape(x.shape[1], x.shape[2])
    y = launcher.empty((x.shape[0], *output, filters), x.dtype if stored is None else stored)
    shape = (math.prod(y.shape[:3]), filters)
    multiplied = kind(precision, x, weight)
    chosen = tiling(multiplied, *shape, math.prod(weight.shape[:3]))
    forms = _windows_form(launcher, x), form(launcher, False, weight)
    product = Product(
        "convolution",
        "conv2d",
        forms,
        chosen,
        shape,
        (x, weight),
        Result(y, epilogue=epilogue or bias_relu(bias, relu)),
        sizes,
    )
    if multiplied in PRECISIONS and window.stride == (1, 1):
        top, left = sizes[-2:]
        windows = Windows(x.shape, output, filters, window.kernel_size, (top, left))
        product = on_patches(product, multiplied, windows, turned=False)
    return launch_product(launcher, product).y


def _backward(
    launcher: Launcher,
    owner: str,
    x: Array,
    weight: Array,
    dy: Array,
    y: Array | None,
    window: Window,
    need_dx: bool,
    precision: str,
    late: Late | None,
    in_parts: bool,
    together: bool,
    stored: Any,
) -> tuple[Array | None, Array, Array]:
    """Gradients; where ``y`` is given, ``dy`` counts only where ``y`` is above 0."""
    sizes = _sizes(owner, x, weight, window)
    output = (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), weight.shape[3])
    check_shape(f"{owner} on CUDA: dy", dy, output)
    x, weight, dy, *gates = stored_as(
        launcher, owner, stored, x, weight, dy, *([] if y is None else [y])
    )
    if y is not None:
        check_shape(f"{owner} on CUDA: y", y, output)
        (y,) = of_dtype(launcher, f"{owner}: y", (str(dy.dtype),), *gates)
    dx = None
    if need_dx:
        dtype = x.dtype if stored is None else stored
        dx = _dx(launcher, x, weight, dy, y, window, precision, sizes, dtype)
    dweight = _dweight(launcher, x, weight, dy, y, precision, sizes, late, in_parts)
    return launch_gradients(launcher, dx, dweight, together and late is None)


def _dweight(
    launcher: Launcher,
    x: Array,
    weight: Array,
    dy: Array,
    y: Array | None,
    precision: str,
    sizes: tuple[int, ...],
    late: Late | None,
    in_parts: bool,
) -> Product:
    places, filters = math.prod(weight.shape[:3]), weight.shape[3]
    number = "float32" if x.dtype in ROUNDED_BITS else x.dtype
    result = weight_gradient(launcher, weight.shape, (filters,), number, late, in_parts)
    depth, multiplied = math.prod(dy.shape[:3]), kind(precision, x, dy)
    asked = Asked(multiplied, places, filters, depth, gated=y is not None)
    forms = form(launcher, False, x), form(launcher, False, dy, y)
    return Product(
        "convolution",
        "conv2d_dweight",
        forms,
        tiling(*asked),
        (places, filters),
        (x, dy, y),
        result,
        sizes,
        asked=asked,
    )


def _dx(
    launcher: Launcher,
    x: Array,
    weight: Array,
    dy: Array,
    y: Array | None,
    window: Window,
    precision: str,
    sizes: tuple[int, ...],
    dtype: Any,
) -> Product:
    images, height, width, channels = x.shape
    (tall, wide), (down, right) = window.kernel_size, window.stride
    dx = launcher.empty(x.shape, dtype)
    # Of the largest of the phases that conv2d_dx takes apart.
    pixels = images * blocks(height, down) * blocks(width, right)
    depth = blocks(tall, down) * blocks(wide, right) * weight.shape[3]
    multiplied = kind(precision, dy, weight)
    asked = Asked(multiplied, pixels, channels, depth, down * right, y is not None)
    forms = _windows_form(launcher, dy, y), form(launcher, True, weight)
    product = Product(
        "convolution",
        "conv2d_dx",
        forms,
        tiling(*asked),
        (pixels, channels),
        (dy, weight, y),
        Result(dx),
        sizes,
        down * right,
        asked=asked,
    )
    if multiplied in PRECISIONS and window.stride == (1, 1) and y is None:
        top, left = sizes[-2:]
        corner = (tall - 1 - top, wide - 1 - left)
        windows = Windows(dy.shape, (height, width), channels, (tall, wide), corner)
        product = on_patches(product, multiplied, windows, turned=True)
    return product


def _windows_form(launcher: Launcher, images: Array, gate: Array | None = None) -> str:
    """The Form of windows along k: single numbers are copied pixel beside pixel instead."""
    return form(launcher, width_of_copy(launcher, images, gate) > 1, images, gate)


def _sizes(owner: str, x: Array, weight: Array, window: Window) -> tuple[int, ...]:
    """What the kernels take: the sizes of x, y, the window, its strides and its padding."""
    if len(x.shape) != 4 or len(weight.shape) != 4:
        shapes = f"{tuple(x.shape)} and {tuple(weight.shape)}"
        message = f"{owner} on CUDA: takes (N, H, W, C) and (KH, KW, C, F), got {shapes}"
        raise InvalidValueError(message)
    images, height, width, channels = x.shape
    filters = weight.shape[3]
    check_shape(f"{owner} on CUDA: weight", weight, (*window.kernel_size, channels, filters))
    if channels == 0:
        message = f"{owner} on CUDA: images must have a channel at least, got {tuple(x.shape)}"
        raise InvalidValueError(message)
    output = window.output_shape(height, width)
    padded = math.prod(window.padded_shape(height, width))
    largest = max(images, padded * channels, math.prod(output) * filters, math.prod(weight.shape))
    if largest >= _MOST:
        message = (
            f"{owner} on CUDA: an image and the weights must have less than 2^31 numbers, "
            f"got {tuple(x.shape)} and {tuple(weight.shape)}; use smaller images"
        )
        raise InvalidValueError(message)
    top, _, left, _ = window.padding
    return (*x.shape, *output, filters, *window.kernel_size, *window.stride, top, left)
