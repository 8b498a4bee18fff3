"""Convolution by columns, tile by tile, alone and with the ReLU and the pool that follow it."""

from __future__ import annotations

import math

import numpy as np

from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.kernels import Kernels
from arraycnn.ops.plain.bias import BiasReLU
from arraycnn.ops.plain.bias import relu as activate
from arraycnn.ops.plain.columns import SINGLE, columns, images_a_tile
from arraycnn.ops.plain.launcher import NUMBER, Launcher
from arraycnn.ops.plain.masks import Mask, let_through
from arraycnn.ops.plain.pools import largest, max_pool2d, max_pool2d_backward, winner_dtype
from arraycnn.ops.plain.tasks import cut, groups
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
    tasks = groups(x.shape[0], images_a_tile(x, window))
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
    tasks = groups(x.shape[0], images_a_tile(x, window))
    dweight, dbias = (launcher.empty(s, dy.dtype) for s in (weight.shape, weight.shape[3:]))
    # Each task has sums of its own, which are added in the order of the tasks.
    matrix, row = dweight.reshape(1, -1, filters), dbias.reshape(1, 1, filters)
    dweights, dbiases = matrix, row
    if len(tasks) != 1:
        dweights = launcher.empty((len(tasks), *matrix.shape[1:]), dy.dtype)
        dbiases = launcher.empty((len(tasks), *row.shape[1:]), dy.dtype)
    dx = launcher.empty(x.shape, dy.dtype) if need_dx else None
    to_image = _ToImage(launcher, weight, window, x.shape) if need_dx else None

    count = math.prod(pool.kernel_size)
    places: np.ndarray = np.arange(count, dtype=winner_dtype(pool))
    places = places.reshape(-1, 1, 1, 1, 1)

    def task(number: int, place: int, part: slice) -> None:
        rows = columns(launcher, x[part], window, pool)
        passed = dy[part]
        if y is not None:
            passed = launcher.scratch(passed.shape, dy.dtype)
            let_through(launcher, dy[part], y[part], passed)
        # As a product, the sum over many rows has the speed of memory and BLAS's precision.
        ones = np.ones((1, passed.size // filters), dy.dtype)
        _add(launcher, ones, passed.reshape(-1, filters), dbiases[number], place)
        blocks = passed[None]
        if winners is not None:
            blocks = launcher.scratch((count, *passed.shape), dy.dtype)
            mask = Mask(launcher, blocks)
            launcher.call(np.equal, winners[part], places, out=mask.where)
            mask.keep(passed, blocks)
        _add(launcher, rows.T, blocks.reshape(-1, filters), dweights[number], place)
        if dx is not None and to_image is not None:
            to_image.write(blocks, pool, dx[part])

    launcher.share(tasks, task, (3 if need_dx else 2) * _work(x, weight, window))
    if len(tasks) != 1:
        launcher.call(np.add.reduce, dweights, axis=0, out=matrix[0])
        launcher.call(np.add.reduce, dbiases, axis=0, out=row[0])
    return dx, dweight, dbias


class _ToImage:
    """Gradients of a convolution's output, brought back to the image that it read."""

    def __init__(
        self, launcher: Launcher, weight: np.ndarray, window: Window, shape: tuple[int, ...]
    ) -> None:
        self._launcher, self._window = launcher, window
        tall, wide, self._channels, self._filters = weight.shape
        top, bottom, left, right = window.padding
        # A step of one pixel: the gradient is a convolution, too, of the output with zeros around
        # it and the filters turned round. That copies where the adjoint of the columns must add.
        around = (tall - 1 - top, tall - 1 - bottom, wide - 1 - left, wide - 1 - right)
        self._turns = window.stride == (1, 1) and min(around) >= 0
        self._around = around if self._turns else (0, 0, 0, 0)
        self._output = window.output_shape(shape[1], shape[2])
        if self._turns:
            turned = launcher.empty((tall, wide, self._filters, self._channels), weight.dtype)
            launcher.call(np.copyto, turned, weight[::-1, ::-1].transpose(0, 1, 3, 2))
            self._matrix = turned.reshape(-1, self._channels)
        else:
            self._matrix = weight.reshape(-1, self._filters).T

    def write(self, blocks: np.ndarray, pool: Window, dx: np.ndarray) -> None:
        """Write the gradient for a tile's images, (n, H, W, C), in a task."""
        (top, bottom, left, right), (rows, columns_) = self._around, self._output
        shape = (len(dx), top + rows + bottom, left + columns_ + right, self._filters)
        dy = self._launcher.scratch(shape, dx.dtype)
        inside = dy[:, top : top + rows, left : left + columns_]
        self._launcher.call(dy.fill, 0)
        for offset, block in zip(pool.offsets(), blocks, strict=True):
            self._launcher.call(np.copyto, inside[pool.pixels(offset, block.shape[1:3])], block)
        if self._turns:
            self._convolve(dy, dx)
        else:
            self._scatter(dy, dx)

    def _convolve(self, dy: np.ndarray, dx: np.ndarray) -> None:
        window = Window(self._window.kernel_size)
        for piece in cut(len(dx), -(-len(dx) // images_a_tile(dy, window))):
            with self._launcher.passing():
                rows = columns(self._launcher, dy[piece], window, SINGLE)
                out = dx[piece].reshape(-1, self._channels)
                self._launcher.call(np.matmul, rows, self._matrix, out=out)

    def _scatter(self, dy: np.ndarray, dx: np.ndarray) -> None:
        launcher, window = self._launcher, self._window
        images, height, width, channels = dx.shape
        total = launcher.scratch((images, *window.padded_shape(height, width), channels), dx.dtype)
        taps = launcher.scratch((dy.size // self._filters, self._matrix.shape[1]), dx.dtype)
        launcher.call(total.fill, 0)
        launcher.call(np.matmul, dy.reshape(-1, self._filters), self._matrix, out=taps)
        by_offset = taps.reshape(*dy.shape[:3], -1, channels)
        for number, offset in enumerate(window.offsets()):
            pixels = total[window.pixels(offset, self._output)]
            launcher.call(np.add, pixels, by_offset[:, :, :, number], out=pixels)
        top, _, left, _ = window.padding
        launcher.call(np.copyto, dx, total[:, top : top + height, left : left + width])


def _add(launcher: Launcher, a: np.ndarray, b: np.ndarray, total: np.ndarray, place: int) -> None:
    """Write a @ b into ``total``, or add it where ``place`` is not the first."""
    if place == 0:
        launcher.call(np.matmul, a, b, out=total)
        return
    term = launcher.scratch(total.shape, total.dtype)
    launcher.call(np.matmul, a, b, out=term)
    launcher.call(np.add, total, term, out=total)


def _work(x: np.ndarray, weight: np.ndarray, window: Window) -> int:
    outputs = x.shape[0] * math.prod(window.output_shape(x.shape[1], x.shape[2]))
    return outputs * (weight.size + NUMBER * (weight.size // max(weight.shape[3], 1)))
