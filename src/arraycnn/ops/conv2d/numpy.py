"""Convolution, some images at a time, alone and with the ReLU and the pool that follow it."""

from __future__ import annotations

import math

import numpy as np

from arraycnn.ops.conv2d.numpy_by_columns import ByColumns
from arraycnn.ops.conv2d.numpy_columns import SINGLE, columns, images_a_tile
from arraycnn.ops.conv2d.numpy_protocol import Backward
from arraycnn.ops.conv2d.numpy_winograd import Winograd
from arraycnn.ops.dense.numpy_products import add_product
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.kernels import Kernels
from arraycnn.ops.max_pool2d.numpy import largest, max_pool2d, max_pool2d_backward, winner_dtype
from arraycnn.ops.numpy.bias import BiasReLU
from arraycnn.ops.numpy.bias import relu as activate
from arraycnn.ops.numpy.launcher import NUMBER, Launcher
from arraycnn.ops.numpy.masks import Mask, let_through
from arraycnn.ops.numpy.tasks import groups
from arraycnn.ops.window import Window


def conv2d(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None,
    window: Window,
) -> np.ndarray:  # fmt: skip
    """See `arraycnn.ops.generic.conv2d`."""
    return _forward(launcher, x, weight, bias, window, False, SINGLE, False)[0]


def conv2d_relu(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None,
    window: Window,
) -> np.ndarray:  # fmt: skip
    """max(`conv2d`, 0)."""
    return _forward(launcher, x, weight, bias, window, True, SINGLE, False)[0]


def conv2d_max_pool2d(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None,
    window: Window, relu: bool, pool: Window, *, need_winners: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """`max_pool2d` with ties="first" of `conv2d` or of max(`conv2d`, 0): (y, winners).

    The convolution's own output is not kept. Bias and ReLU are left to the pool's fewer numbers: they
    change no maximum, and a winner only where rounding makes two pixels equal.
    """
    if pool.stride == pool.kernel_size:
        return _forward(launcher, x, weight, bias, window, relu, pool, need_winners)
    y = conv2d(launcher, ops, x, weight, bias, window)
    y, winners = max_pool2d(launcher, y, pool, "first", need_winners=need_winners)
    if relu:
        activate(launcher, y)
    return y, winners


def conv2d_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, dy: np.ndarray,
    window: Window, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    """See `arraycnn.ops.generic.conv2d_backward`."""
    return _backward(launcher, x, weight, None, None, dy, window, SINGLE, need_dx)


def conv2d_relu_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, y: np.ndarray,
    dy: np.ndarray, window: Window, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    """Gradients of `conv2d_relu`, whose output was ``y``: (dx or None, dweight, dbias)."""
    return _backward(launcher, x, weight, y, None, dy, window, SINGLE, need_dx)


def conv2d_max_pool2d_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, y: np.ndarray,
    winners: np.ndarray, dy: np.ndarray, window: Window, relu: bool, pool: Window, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    """Gradients of `conv2d_max_pool2d`: (dx or None, dweight, dbias)."""
    if pool.stride == pool.kernel_size:
        passed = y if relu else None
        return _backward(launcher, x, weight, passed, winners, dy, window, pool, need_dx)
    dy = launcher.contiguous(dy)
    if relu:
        passed = launcher.empty(dy.shape, dy.dtype)
        launcher.alone(lambda: let_through(launcher, dy, y, passed))
        dy = passed
    shape = (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), weight.shape[3])
    dconv = max_pool2d_backward(launcher, dy, winners, shape, pool, "first")
    return _backward(launcher, x, weight, None, None, dconv, window, SINGLE, need_dx)


def _forward(
    launcher: Launcher, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window,
    relu: bool, pool: Window, need_winners: bool,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    check_arrays("conv2d", x, weight)
    x = launcher.contiguous(x)
    matrix, filters = weight.reshape(-1, weight.shape[3]), weight.shape[3]
    output = pool.output_shape(*window.output_shape(x.shape[1], x.shape[2]))
    y = launcher.empty((x.shape[0], *output, filters), x.dtype)
    winners = launcher.empty(y.shape, winner_dtype(pool)) if need_winners else None
    tasks = groups(x.shape[0], images_a_tile(x.shape[1:], x.itemsize, window))
    end = BiasReLU(launcher, bias, relu, y.shape[1:])

    def task(number: int, place: int, part: slice) -> None:
        rows = columns(launcher, x[part], window, pool)
        out = y[part].reshape(-1, filters)
        if pool is SINGLE:
            launcher.call(np.matmul, rows, matrix, out=out)
        else:
            blocks = launcher.scratch((math.prod(pool.kernel_size), *out.shape), x.dtype)
            launcher.call(np.matmul, rows, matrix, out=blocks.reshape(-1, filters))
            places = None if winners is None else winners[part].reshape(-1, filters)
            largest(launcher, blocks, out, places)
        end.apply(y[part])

    launcher.share(tasks, task, _work(x, weight, window))
    return y, winners


def _backward(
    launcher: Launcher, x: np.ndarray, weight: np.ndarray, y: np.ndarray | None,
    winners: np.ndarray | None, dy: np.ndarray, window: Window, pool: Window, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    """Gradients where ``dy`` passes a ReLU with output ``y`` and a pool, or not."""
    check_arrays("conv2d_backward", x, weight, dy)
    x, dy = launcher.contiguous(x), launcher.contiguous(dy)
    filters = weight.shape[3]
    way: type[Winograd] | type[ByColumns]
    way = Winograd if Winograd.suits(x, weight, window, pool) else ByColumns
    method: Backward = way(launcher, x.shape[1:], weight, window, pool)
    tasks = groups(x.shape[0], method.images)
    # Each task has sums of its own, which are added in the order of the tasks.
    totals = launcher.empty((len(tasks), *method.sums), dy.dtype)
    dbiases = launcher.empty((len(tasks), 1, filters), dy.dtype)
    dx = launcher.empty(x.shape, dy.dtype) if need_dx else None
    write = method.gradients(need_dx)

    count = math.prod(pool.kernel_size)
    places: np.ndarray = np.arange(count, dtype=winner_dtype(pool))
    places = places.reshape(-1, 1, 1, 1, 1)

    def task(number: int, place: int, part: slice) -> None:
        passed = dy[part]
        if y is not None:
            passed = launcher.scratch(passed.shape, dy.dtype)
            let_through(launcher, dy[part], y[part], passed)
        # As a product, the sum over many rows has the speed of memory and BLAS's precision.
        ones = np.ones((1, passed.size // filters), dy.dtype)
        add_product(launcher, ones, passed.reshape(-1, filters), dbiases[number], place)
        blocks = passed[None]
        if winners is not None:
            blocks = launcher.scratch((count, *passed.shape), dy.dtype)
            mask = Mask(launcher, blocks)
            launcher.call(np.equal, winners[part], places, out=mask.where)
            mask.keep(passed, blocks)
        write(x[part], blocks, totals[number], place, None if dx is None else dx[part])

    launcher.share(tasks, task, (3 if need_dx else 2) * _work(x, weight, window))
    dweight = method.dweight(_sum(launcher, totals))
    return dx, dweight, _sum(launcher, dbiases).reshape(filters)


def _sum(launcher: Launcher, parts: np.ndarray) -> np.ndarray:
    """The sum over the first axis."""
    if len(parts) == 1:
        return parts[0]
    total = launcher.empty(parts.shape[1:], parts.dtype)
    launcher.call(np.add.reduce, parts, axis=0, out=total)
    return total


def _work(x: np.ndarray, weight: np.ndarray, window: Window) -> int:
    outputs = x.shape[0] * math.prod(window.output_shape(x.shape[1], x.shape[2]))
    return outputs * (weight.size + NUMBER * (weight.size // max(weight.shape[3], 1)))
