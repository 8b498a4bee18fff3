"""Convolutions with dilation or groups, in the array-API standard: the reference for all others.

A group of several channels is a convolution of its own, with the kernels of the record. Groups of one
channel, depthwise convolutions, are sums of products of shifted images: pointwise, so that a program
makes one loop of them, and of each of their gradients. Where pixels of the window lie apart, groups of
several channels are products of columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arraycnn.ops import generic
from arraycnn.ops.arrays import Array, array_namespace, at, device
from arraycnn.ops.window import Window

if TYPE_CHECKING:
    from arraycnn.ops.kernels import Kernels


def grouped_conv2d(
    ops: Kernels, x: Array, weight: Array, bias: Array | None, window: Window
) -> Array:
    """Cross-correlation of each group of channels with its own filters, plus a bias, (F,).

    Parameters
    ----------
    x : array, (N, H, W, C)
    weight : array, (KH, KW, C / groups, F)
        Of the first group the first F / groups filters, and so on.
    window : Window
        With its dilation.

    Returns
    -------
    array, (N, OH, OW, F)
    """
    xp, (channels, filters) = array_namespace(x), weight.shape[2:]
    groups = x.shape[3] // channels
    if channels == 1 and groups > 1:
        y = _depthwise(_for_each_filter(x, filters), weight, window)
    elif groups > 1:
        parts = [
            _alone(ops, x[..., mine], weight[..., own], window)
            for mine, own in _parts(groups, channels, filters)
        ]
        y = xp.concat(parts, axis=3)
    else:
        y = _alone(ops, x, weight, window)
    return y if bias is None else y + bias


def grouped_conv2d_backward(
    ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of `grouped_conv2d`: (dx or None, dweight, dbias) for ``dy``, (N, OH, OW, F)."""
    xp, (channels, filters) = array_namespace(x, dy), weight.shape[2:]
    groups, dbias = x.shape[3] // channels, xp.sum(dy, axis=(0, 1, 2))
    if channels == 1 and groups > 1:
        return *_depthwise_backward(x, weight, dy, window, need_dx), dbias
    if groups == 1:
        dx, dweight = _alone_backward(ops, x, weight, dy, window, need_dx)
        return dx, dweight, dbias
    gradients = [
        _alone_backward(ops, x[..., mine], weight[..., own], dy[..., own], window, need_dx)
        for mine, own in _parts(groups, channels, filters)
    ]
    dxs, dweights = zip(*gradients, strict=True)
    dx = xp.concat(list(dxs), axis=3) if need_dx else None
    return dx, xp.concat(list(dweights), axis=3), dbias


def _parts(groups: int, channels: int, filters: int) -> list[tuple[slice, slice]]:
    """Which channels and which filters each group has."""
    own = filters // groups
    return [
        (slice(n * channels, (n + 1) * channels), slice(n * own, (n + 1) * own))
        for n in range(groups)
    ]


def _alone(ops: Kernels, x: Array, weight: Array, window: Window) -> Array:
    """One group, without a bias."""
    if window.dilation == (1, 1):
        return ops.conv2d(ops, x, weight, None, window)
    xp, filters = array_namespace(x), weight.shape[3]
    y = ops.matmul(generic.im2col(x, window), xp.reshape(weight, (-1, filters)))
    return xp.reshape(y, (x.shape[0], *window.output_shape(*x.shape[1:3]), filters))


def _alone_backward(
    ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
) -> tuple[Array | None, Array]:
    if window.dilation == (1, 1):
        dx, dweight, _ = ops.conv2d_backward(ops, x, weight, dy, window, need_dx)
        return dx, dweight
    xp, filters = array_namespace(x, dy), weight.shape[3]
    rows = xp.reshape(dy, (-1, filters))
    dweight = xp.reshape(ops.matmul(generic.im2col(x, window).T, rows), weight.shape)
    if not need_dx:
        return None, dweight
    dcolumns = ops.matmul(rows, xp.reshape(weight, (-1, filters)).T)
    return generic.col2im(dcolumns, x.shape, window), dweight


def _for_each_filter(x: Array, filters: int) -> Array:
    """Each channel of ``x`` once for each of its filters: (N, H, W, F)."""
    times = filters // x.shape[3]
    if times == 1:
        return x
    xp = array_namespace(x)
    return xp.reshape(xp.stack([x] * times, axis=4), (*x.shape[:3], filters))


def _shifted(x: Array, window: Window) -> list[Array]:
    """The pixels that each place of the window sees, (N, OH, OW, C)."""
    output = window.output_shape(x.shape[1], x.shape[2])
    padded = generic.padded(x, window)
    return [padded[window.pixels(offset, output)] for offset in window.offsets()]


def _depthwise(x: Array, weight: Array, window: Window) -> Array:
    """Each channel with a filter of its own."""
    total, factors = None, array_namespace(x).reshape(weight, (-1, weight.shape[3]))
    for place, pixels in enumerate(_shifted(x, window)):
        product = pixels * factors[place, :]
        total = product if total is None else total + product
    return total


def _depthwise_backward(
    x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
) -> tuple[Array | None, Array]:
    xp, filters = array_namespace(x, dy), weight.shape[3]
    images = _for_each_filter(x, filters)
    sums = [xp.sum(pixels * dy, axis=(0, 1, 2)) for pixels in _shifted(images, window)]
    dweight = xp.reshape(xp.stack(sums), weight.shape)
    if not need_dx:
        return None, dweight
    factors = xp.reshape(weight, (-1, filters))
    dx = None
    for place, pixels in enumerate(_seen_by(dy, window, x.shape[1:3])):
        product = pixels * factors[place, :]
        dx = product if dx is None else dx + product
    if x.shape[3] != filters:
        dx = xp.sum(xp.reshape(dx, (*x.shape, filters // x.shape[3])), axis=4)
    return dx, dweight


def _seen_by(dy: Array, window: Window, image: tuple[int, int]) -> list[Array]:
    """For each place of the window, ``dy`` where a pixel lies at that place, (N, H, W, F), else 0.

    So each pixel gathers its gradient, and none is added to in memory. All are views of one frame of
    zeros, in which the numbers of ``dy`` lie as far apart as the window steps.
    """
    xp = array_namespace(dy)
    frame, numbers = [dy.shape[0]], [slice(None)]
    lies = [slice(None)]
    for axis, (size, extent) in enumerate(zip(image, window.extent, strict=True)):
        stride, before = window.stride[axis], extent - 1 - window.padding[2 * axis]
        first = max(0, -(before // stride))  # windows before it see nothing but padding
        room = size + extent - 1
        last = min(dy.shape[axis + 1], (room - 1 - before) // stride + 1)
        numbers.append(slice(first, last))
        start = before + stride * first
        lies.append(slice(start, start + stride * (last - first - 1) + 1, stride))
        frame.append(room)
    zeros = xp.zeros((*frame, dy.shape[3]), dtype=dy.dtype, device=device(dy))
    spread = at(zeros)[*lies, :].set(dy[*numbers, :])
    rows, columns = image
    last_row, last_column = (extent - 1 for extent in window.extent)
    return [
        spread[
            :, last_row - i : last_row - i + rows, last_column - j : last_column - j + columns, :
        ]
        for i, j in window.offsets()
    ]
