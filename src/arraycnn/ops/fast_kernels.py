"""Compiled kernels for NumPy arrays, by numba (the extra ``fast``).

They release the GIL, run one tile of images each on the caller's thread, and are compiled once a
machine: the cache survives the process. The contracts are the generic ones'.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from arraycnn.ops import generic, numpy_kernels
from arraycnn.ops.kernels import Kernels
from arraycnn.ops.numpy_kernels import NUMPY, check_arrays
from arraycnn.ops.window import Window

_compiled = njit(nogil=True, cache=True, fastmath={"contract"})
# For sums along a row: compiled in blocks, in an order that is fixed but not the written one.
_reordered = njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})


def max_pool2d(x: np.ndarray, window: Window, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """See `arraycnn.ops.generic.max_pool2d`."""
    check_arrays(x)
    if ties != "first" or not _fits_byte(window):
        return generic.max_pool2d(x, window, ties)
    images, height, width, channels = x.shape
    shape = (images, *window.output_shape(height, width), channels)
    y, winner = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    _max_pool(np.ascontiguousarray(x), *window.kernel_size, *window.stride, y, winner)
    return y, winner


def max_pool2d_backward(
    dy: np.ndarray, winners: np.ndarray, input_shape: tuple[int, ...], window: Window, ties: str
) -> np.ndarray:
    """See `arraycnn.ops.generic.max_pool2d_backward`."""
    check_arrays(dy, winners)
    if ties != "first" or winners.dtype != np.uint8:
        return generic.max_pool2d_backward(dy, winners, input_shape, window, ties)
    dy, winners = np.ascontiguousarray(dy), np.ascontiguousarray(winners)
    if window.stride == window.kernel_size:
        covered = (dy.shape[1] * window.stride[0], dy.shape[2] * window.stride[1])
        new = np.empty if covered == tuple(input_shape[1:3]) else np.zeros
        dx = new(input_shape, dy.dtype)
        _max_pool_backward_apart(dy, winners, *window.kernel_size, dx)
        return dx
    dx = np.zeros(input_shape, dy.dtype)
    _max_pool_backward(dy, winners, window.kernel_size[1], *window.stride, dx)
    return dx


def col2im(columns: np.ndarray, input_shape: tuple[int, ...], window: Window) -> np.ndarray:
    """See `arraycnn.ops.generic.col2im`."""
    check_arrays(columns)
    images, height, width, channels = input_shape
    rows, cols = window.output_shape(height, width)
    top, _, left, _ = window.padding
    total = np.zeros((images, *window.padded_shape(height, width), channels), columns.dtype)
    by_window = np.ascontiguousarray(columns).reshape(
        images, rows, cols, window.kernel_size[0], window.kernel_size[1] * channels
    )
    _col2im(by_window, *window.stride, channels, total)
    return total[:, top : top + height, left : left + width]


def _fits_byte(window: Window) -> bool:
    return window.kernel_size[0] * window.kernel_size[1] <= 256


@_compiled
def _max_pool(x, tall, wide, down, right, y, winner):  # type: ignore[no-untyped-def]
    images, rows, columns, channels = y.shape
    for n in range(images):
        for i in range(rows):
            for j in range(columns):
                out, won = y[n, i, j], winner[n, i, j]
                for c in range(channels):
                    out[c] = x[n, i * down, j * right, c]
                    won[c] = 0
                for a in range(tall):
                    for b in range(wide):
                        pixel = x[n, i * down + a, j * right + b]
                        place = np.uint8(a * wide + b)
                        for c in range(channels):
                            best, value = out[c], pixel[c]
                            # A NaN wins over every number, and nothing wins over it.
                            wins = value > best or value != value
                            out[c] = value if wins else best
                            won[c] = place if value > best else won[c]


@_compiled
def _max_pool_backward(dy, winner, wide, down, right, dx):  # type: ignore[no-untyped-def]
    images, rows, columns, channels = dy.shape
    for n in range(images):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    place = winner[n, i, j, c]
                    dx[n, i * down + place // wide, j * right + place % wide, c] += dy[n, i, j, c]


@_compiled
def _max_pool_backward_apart(dy, winner, tall, wide, dx):  # type: ignore[no-untyped-def]
    # Windows that do not overlap: each pixel is written once, a run of channels at a time.
    images, rows, columns, channels = dy.shape
    for n in range(images):
        for i in range(rows):
            for j in range(columns):
                gradient, won = dy[n, i, j], winner[n, i, j]
                for a in range(tall):
                    for b in range(wide):
                        pixel = dx[n, i * tall + a, j * wide + b]
                        place = np.uint8(a * wide + b)
                        for c in range(channels):
                            pixel[c] = gradient[c] if won[c] == place else 0.0


@_compiled
def _col2im(columns, down, right, channels, total):  # type: ignore[no-untyped-def]
    images, rows, cols, tall, run = columns.shape
    flat = total.reshape(images, total.shape[1], total.shape[2] * channels)
    for n in range(images):
        for i in range(rows):
            for a in range(tall):
                line = flat[n, i * down + a]
                for j in range(cols):
                    source = columns[n, i, j, a]
                    start = j * right * channels
                    for c in range(run):
                        line[start + c] += source[c]


def conv2d_max_pool2d(
    ops: Kernels,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    window: Window,
    relu: bool,
    pool: Window,
) -> tuple[np.ndarray, np.ndarray]:
    """See `arraycnn.ops.numpy_kernels.conv2d_max_pool2d`."""
    check_arrays(x, weight)
    if not _suits_direct(weight.shape, window, pool):
        return numpy_kernels.conv2d_max_pool2d(ops, x, weight, bias, window, relu, pool)
    images, height, width, _ = x.shape
    filters = weight.shape[3]
    shape = (images, *pool.output_shape(*window.output_shape(height, width)), filters)
    y, winners = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    if bias is None:
        bias = np.zeros(filters, x.dtype)
    _conv_pool(_planes(x), _by_filter(weight), bias, width, weight.shape[1], relu, y, winners)
    return y, winners


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
    """See `arraycnn.ops.numpy_kernels.conv2d_max_pool2d_backward`."""
    check_arrays(x, weight, y, winners, dy)
    if not _suits_direct(weight.shape, window, pool):
        return numpy_kernels.conv2d_max_pool2d_backward(
            ops, x, weight, y, winners, dy, window, relu, pool, need_dx
        )
    tall, wide, channels, filters = weight.shape
    images, height, width, _ = x.shape
    planes, by_filter = _planes(x), _by_filter(weight)
    dweight, dbias = np.zeros(by_filter.shape, x.dtype), np.zeros(filters, x.dtype)
    dplanes = np.zeros(planes.shape if need_dx else (0, 0, 0), x.dtype)
    dy = np.ascontiguousarray(dy)
    _conv_pool_backward(
        planes, by_filter, width, wide, y, winners, dy, relu, need_dx, dweight, dbias, dplanes
    )
    dx = None
    if need_dx:
        by_channel = dplanes.reshape(images, channels, height, width)
        dx = np.ascontiguousarray(by_channel.transpose(0, 2, 3, 1))
    dweight = dweight.reshape(filters, channels, tall, wide).transpose(2, 3, 1, 0)
    return dx, np.ascontiguousarray(dweight), dbias


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `arraycnn.ops.generic.softmax_cross_entropy`."""
    check_arrays(logits, labels)
    logits = np.ascontiguousarray(logits)
    dlogits = np.empty_like(logits)
    loss_sum, correct = _softmax_cross_entropy(logits, labels, batch_size, dlogits)
    return logits.dtype.type(loss_sum), dlogits, np.int32(correct)  # type: ignore[return-value]


def _suits_direct(weight_shape: tuple[int, ...], window: Window, pool: Window) -> bool:
    """So few multiplications that a matrix product has nothing to win, and a plain 2x2 pool."""
    tall, wide, channels, filters = weight_shape
    plain = window.stride == (1, 1) and not any(window.padding)
    halves = pool.kernel_size == pool.stride == (2, 2)
    return plain and halves and tall * wide * channels <= 36 and filters <= 32


def _planes(x: np.ndarray) -> np.ndarray:
    """(N, C, H * W): channels first, so that runs along a row are contiguous."""
    images, height, width, channels = x.shape
    planes = x.transpose(0, 3, 1, 2) if channels > 1 else x
    return np.ascontiguousarray(planes).reshape(images, channels, height * width)


def _by_filter(weight: np.ndarray) -> np.ndarray:
    """(F, C, KH * KW)."""
    tall, wide, channels, filters = weight.shape
    return np.ascontiguousarray(weight.transpose(3, 2, 0, 1)).reshape(
        filters, channels, tall * wide
    )


@_compiled
def _softmax_cross_entropy(logits, labels, batch_size, dlogits):  # type: ignore[no-untyped-def]
    images, classes = logits.shape
    loss_sum, correct = 0.0, 0
    for n in range(images):
        row, out, label = logits[n], dlogits[n], labels[n]
        largest, best = row[0], 0
        for k in range(1, classes):
            # The first of the largest, as argmax; a NaN is larger than all.
            if row[k] > largest or (row[k] != row[k] and largest == largest):
                largest, best = row[k], k
        total = 0.0
        for k in range(classes):
            out[k] = np.exp(row[k] - largest)
            total += out[k]
        for k in range(classes):
            out[k] = (out[k] / total - (1.0 if k == label else 0.0)) / batch_size
        loss_sum -= row[label] - largest - np.log(total)
        correct += best == label
    return loss_sum, correct


# Both kernels take an image as one long row. Shifted by i * W + j it lines up with the window's
# pixel (i, j) for all outputs at once; the few outputs whose window would wrap are never read.


@_compiled
def _conv_pool(planes, weight, bias, width, wide, relu, y, winners):  # type: ignore[no-untyped-def]
    images, channels, _ = planes.shape
    filters, _, taps = weight.shape
    _, rows, columns, _ = y.shape
    span = 2 * rows * width - (wide - 1)
    out = np.empty(span, planes.dtype)
    for n in range(images):
        for f in range(filters):
            out[:] = bias[f]
            for c in range(channels):
                plane = planes[n, c]
                for k in range(taps):
                    shift = k // wide * width + k % wide
                    source, w = plane[shift : shift + span], weight[f, c, k]
                    for p in range(span):
                        out[p] += w * source[p]
            for i in range(rows):
                upper, lower = out[2 * i * width :], out[(2 * i + 1) * width :]
                for j in range(columns):
                    best, place = upper[2 * j], np.uint8(0)
                    value = upper[2 * j + 1]
                    if value > best or value != value:
                        best, place = value, np.uint8(1)
                    value = lower[2 * j]
                    if value > best or value != value:
                        best, place = value, np.uint8(2)
                    value = lower[2 * j + 1]
                    if value > best or value != value:
                        best, place = value, np.uint8(3)
                    if relu and best < 0.0:
                        best = planes.dtype.type(0.0)
                    y[n, i, j, f] = best
                    winners[n, i, j, f] = place


@_reordered
def _conv_pool_backward(  # type: ignore[no-untyped-def]
    planes, weight, width, wide, y, winners, dy, relu, need_dx, dweight, dbias, dplanes
):
    images, channels, _ = planes.shape
    filters, _, taps = weight.shape
    _, rows, columns, _ = y.shape
    span = 2 * rows * width - (wide - 1)
    gradient = np.empty(span, planes.dtype)
    for n in range(images):
        for f in range(filters):
            gradient[:] = 0.0
            total = planes.dtype.type(0.0)
            for i in range(rows):
                for j in range(columns):
                    if relu and not y[n, i, j, f] > 0.0:
                        continue
                    place = np.int64(winners[n, i, j, f])
                    g = dy[n, i, j, f]
                    gradient[(2 * i + place // 2) * width + 2 * j + place % 2] = g
                    total += g
            dbias[f] += total
            for c in range(channels):
                plane = planes[n, c]
                for k in range(taps):
                    shift = k // wide * width + k % wide
                    source = plane[shift : shift + span]
                    along = planes.dtype.type(0.0)
                    for p in range(span):
                        along += gradient[p] * source[p]
                    dweight[f, c, k] += along
                    if need_dx:
                        target, w = dplanes[n, c, shift : shift + span], weight[f, c, k]
                        for p in range(span):
                            target[p] += w * gradient[p]


FAST = replace(
    NUMPY,
    max_pool2d=max_pool2d,
    max_pool2d_backward=max_pool2d_backward,
    col2im=col2im,
    conv2d_max_pool2d=conv2d_max_pool2d,
    conv2d_max_pool2d_backward=conv2d_max_pool2d_backward,
    softmax_cross_entropy=softmax_cross_entropy,
)
"""What runs on NumPy arrays where numba is installed."""


def compile_all() -> bool:
    """Compile every kernel for float32 and float64, or load it; whether one had to be compiled."""
    pooling = [_max_pool, _max_pool_backward, _max_pool_backward_apart]
    compiled = [*pooling, _col2im, _conv_pool, _conv_pool_backward, _softmax_cross_entropy]
    for dtype in (np.float32, np.float64):
        x, weight = np.zeros((1, 6, 6, 2), dtype), np.zeros((3, 3, 2, 1), dtype)
        for window in (Window((2, 2), (2, 2)), Window((2, 2))):
            y, winners = max_pool2d(x, window, "first")
            max_pool2d_backward(y, winners, x.shape, window, "first")
        col2im(np.zeros((16, 18), dtype), x.shape, Window((3, 3)))
        softmax_cross_entropy(np.zeros((2, 3), dtype), np.zeros(2, np.int32), 2)
        conv, pool = Window((3, 3)), Window((2, 2), (2, 2))
        y, winners = conv2d_max_pool2d(FAST, x, weight, None, conv, True, pool)
        conv2d_max_pool2d_backward(FAST, x, weight, y, winners, y, conv, True, pool, True)
    return any(sum(function.stats.cache_misses.values()) for function in compiled)
