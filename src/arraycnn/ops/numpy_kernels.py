"""Kernels for NumPy arrays, where a benchmark shows a gain over the generic ones.

The contracts are the generic ones'. Columns, the largest arrays of a step, never leave the
function that makes them: they live in one buffer a thread, which stays in the cache and costs no
fresh pages.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arraycnn.errors import InvalidTypeError
from arraycnn.ops import generic
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.window import Window

_buffers = threading.local()

_SHORT_RUN = 16
"""Below this many numbers in a window row, copying runs of pixels beats copying window rows."""


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """See `arraycnn.ops.generic.matmul`."""
    check_arrays(a, b)
    if a.shape[1] == 1:
        return a * b  # the weight gradient of one image: BLAS takes three times as long
    return np.matmul(a, b)


def im2col(x: np.ndarray, window: Window) -> np.ndarray:
    """See `arraycnn.ops.generic.im2col`."""
    check_arrays(x)
    view = _window_rows(_padded(x, window), window)
    return view.reshape(-1, window.kernel_size[0] * view.shape[4])


def conv2d(
    ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window
) -> np.ndarray:
    """See `arraycnn.ops.generic.conv2d`."""
    check_arrays(x, weight)
    filters = weight.shape[3]
    y = ops.matmul(_columns(x, window), weight.reshape(-1, filters))
    if bias is not None:
        y += bias
    return y.reshape(x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), filters)


def conv2d_backward(
    ops: Kernels,
    x: np.ndarray,
    weight: np.ndarray,
    dy: np.ndarray,
    window: Window,
    need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """See `arraycnn.ops.generic.conv2d_backward`."""
    check_arrays(x, weight, dy)
    filters = weight.shape[3]
    rows = dy.reshape(-1, filters)
    dweight = ops.matmul(_columns(x, window).T, rows).reshape(weight.shape)
    # As a product, the sum over many rows runs at the speed of memory and in BLAS's precision.
    dbias = ops.matmul(np.ones((1, rows.shape[0]), rows.dtype), rows)[0]
    if not need_dx:
        return None, dweight, dbias
    dcolumns = np.matmul(
        rows,
        weight.reshape(-1, filters).T,
        out=_buffer((rows.shape[0], dweight.size // filters), dy.dtype),
    )
    return ops.col2im(dcolumns, x.shape, window), dweight, dbias


def col2im(columns: np.ndarray, input_shape: tuple[int, ...], window: Window) -> np.ndarray:
    """See `arraycnn.ops.generic.col2im`."""
    check_arrays(columns)
    images, height, width, channels = input_shape
    output = window.output_shape(height, width)
    by_offset = columns.reshape(images, *output, -1, channels)
    total = np.zeros((images, *window.padded_shape(height, width), channels), columns.dtype)
    for number, offset in enumerate(window.offsets()):
        total[window.pixels(offset, output)] += by_offset[:, :, :, number]
    top, _, left, _ = window.padding
    return total[:, top : top + height, left : left + width]


def max_pool2d(x: np.ndarray, window: Window, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """See `arraycnn.ops.generic.max_pool2d`."""
    check_arrays(x)
    if ties != "first" or window.kernel_size != (2, 2):
        return generic.max_pool2d(x, window, ties)
    output = window.output_shape(x.shape[1], x.shape[2])
    a, b, c, d = (x[window.pixels(offset, output)] for offset in window.offsets())
    upper, lower = np.maximum(a, b), np.maximum(c, d)
    winner = (b > a).view(np.uint8)
    below = (d > c).view(np.uint8)
    below += 2
    np.copyto(winner, below, where=lower > upper)
    return np.maximum(upper, lower, out=upper), winner


def max_pool2d_backward(
    dy: np.ndarray, winners: np.ndarray, input_shape: tuple[int, ...], window: Window, ties: str
) -> np.ndarray:
    """See `arraycnn.ops.generic.max_pool2d_backward`."""
    check_arrays(dy, winners)
    if ties != "first" or window.stride != window.kernel_size:
        return generic.max_pool2d_backward(dy, winners, input_shape, window, ties)
    # Windows that do not overlap write each pixel once: nothing needs to be zero before.
    output = window.output_shape(input_shape[1], input_shape[2])
    covered = (output[0] * window.stride[0], output[1] * window.stride[1])
    new = np.empty if covered == input_shape[1:3] else np.zeros
    dx = new(input_shape, dy.dtype)
    for place, offset in enumerate(window.offsets()):
        dx[window.pixels(offset, output)] = np.where(winners == place, dy, 0.0)
    return dx


def conv2d_relu(
    ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window
) -> np.ndarray:
    """max(`conv2d`, 0), in the memory of the convolution."""
    y = ops.conv2d(ops, x, weight, bias, window)
    return np.maximum(y, 0.0, out=y)


def conv2d_relu_backward(
    ops: Kernels,
    x: np.ndarray,
    weight: np.ndarray,
    y: np.ndarray,
    dy: np.ndarray,
    window: Window,
    need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of `conv2d_relu`, whose output was ``y``: (dx or None, dweight, dbias)."""
    return ops.conv2d_backward(ops, x, weight, np.where(y > 0.0, dy, 0.0), window, need_dx)


def conv2d_max_pool2d(
    ops: Kernels,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    window: Window,
    relu: bool,
    pool: Window,
) -> tuple[np.ndarray, np.ndarray]:
    """`max_pool2d` with ties="first" of `conv2d` or of max(`conv2d`, 0): (y, winners).

    The convolution's own output, the largest array of the step, is not kept; and the ReLU, which
    changes no maximum above 0, is left to the pool's fewer numbers.
    """
    y, winners = ops.max_pool2d(ops.conv2d(ops, x, weight, bias, window), pool, "first")
    return (np.maximum(y, 0.0, out=y) if relu else y), winners


def conv2d_max_pool2d_backward(
    ops: Kernels,
    x: np.ndarray,
    weight: np.ndarray,
    y: np.ndarray,
    winners: np.ndarray,
    dy: np.ndarray,
    window: Window,
    relu: bool,
    pool: Window,
    need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of `conv2d_max_pool2d`: (dx or None, dweight, dbias)."""
    if relu:
        dy = np.where(y > 0.0, dy, 0.0)
    shape = (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), weight.shape[3])
    dconv = ops.max_pool2d_backward(dy, winners, shape, pool, "first")
    return ops.conv2d_backward(ops, x, weight, dconv, window, need_dx)


def _columns(x: np.ndarray, window: Window) -> np.ndarray:
    """`im2col` in this thread's buffer: good until the thread's next call."""
    padded = _padded(x, window)
    images, _, _, channels = x.shape
    rows, columns = window.output_shape(x.shape[1], x.shape[2])
    offsets = window.offsets()
    if window.kernel_size[1] * channels >= _SHORT_RUN:
        view = _window_rows(padded, window)
        buffer = _buffer((images * rows * columns, len(offsets) * channels), x.dtype)
        np.copyto(buffer.reshape(view.shape), view)
        return buffer
    # Few channels: the columns are built lying down, a run of pixels for each number of the window.
    buffer = _buffer((len(offsets) * channels, images * rows * columns), x.dtype)
    by_number = buffer.reshape(len(offsets), channels, images, rows, columns)
    for number, offset in enumerate(offsets):
        pixels = padded[window.pixels(offset, (rows, columns))]
        for channel in range(channels):
            by_number[number, channel] = pixels[..., channel]
    return buffer.T


def _window_rows(padded: np.ndarray, window: Window) -> np.ndarray:
    """A view of every window, (N, OH, OW, KH, KW * C): in NHWC a window's row is contiguous."""
    padded = np.ascontiguousarray(padded)
    images, height, width, channels = padded.shape
    (tall, wide), (down, right) = window.kernel_size, window.stride
    rows, columns = (height - tall) // down + 1, (width - wide) // right + 1
    image, row, column, number = padded.strides
    return as_strided(
        padded,
        (images, rows, columns, tall, wide * channels),
        (image, down * row, right * column, row, number),
        writeable=False,
    )


def _padded(x: np.ndarray, window: Window) -> np.ndarray:
    top, bottom, left, right = window.padding
    if not any(window.padding):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


def _buffer(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """This thread's buffer as an array; what it held is gone."""
    size = shape[0] * shape[1] * dtype.itemsize
    memory = getattr(_buffers, "memory", None)
    if memory is None or memory.size < size:
        memory = _buffers.memory = np.empty(size, np.uint8)
    return memory[:size].view(dtype).reshape(shape)


def check_arrays(*arrays: np.ndarray) -> None:
    """Refuse arrays of another library."""
    for array in arrays:
        if not isinstance(array, np.ndarray):
            message = (
                f"NumPy kernels: take NumPy arrays, got {type(array)!r}; "
                "keep all arrays of a model on its own backend"
            )
            raise InvalidTypeError(message)


NUMPY = replace(
    GENERIC,
    matmul=matmul,
    im2col=im2col,
    col2im=col2im,
    conv2d=conv2d,
    conv2d_backward=conv2d_backward,
    max_pool2d=max_pool2d,
    max_pool2d_backward=max_pool2d_backward,
    conv2d_relu=conv2d_relu,
    conv2d_relu_backward=conv2d_relu_backward,
    conv2d_max_pool2d=conv2d_max_pool2d,
    conv2d_max_pool2d_backward=conv2d_max_pool2d_backward,
)
"""What runs on NumPy arrays."""
