"""Launch code of direct_convolution.cu: few-channel convolution and max-pool in one."""

import math
from typing import Any

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape, of_dtype
from arraycnn.ops.cuda.launcher import WARP, Launcher, Size, blocks, c_name
from arraycnn.ops.cuda.products import sum_splits
from arraycnn.ops.cuda.tiles import Result
from arraycnn.ops.window import Window

_MOST_CHANNELS = 4
_MOST_FILTERS = 32
_EDGES = (3, 5)  # of the convolution's window

_THREADS = 256
_MOST_WANTED = 4096  # blocks: enough for every processor
_LINES_AT_ONCE = 10  # in shared memory, as in direct_convolution.cu

_BUSY = 2**16
"""Threads from which on a device is busy: fewer are made more by smaller groups of filters."""

_FEW_SUMS = 256
"""Blocks among which the gradients of a small batch are shared out: the fewer, the quicker are
their partial sums added."""

_MOST_SUMS = 1024

_MOST_BYTES_OF_ONE = 32 * 1024
"""Of partial sums that the last block adds up by itself: more take it longer than a second kernel."""


def conv2d_max_pool2d(
    launcher: Launcher,
    ops: Any,
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    relu: bool,
    pool: Window,
    **stored: Any,
) -> tuple[Array, Array]:
    """`max_pool2d` with ties="first" of `conv2d`, or of max(`conv2d`, 0): (y, winners).

    ``stored`` as of those two: then what lies between them does so like y.
    """
    if not suits(x.shape, weight.shape, window, pool):
        convolve = ops.conv2d_relu if relu else ops.conv2d
        convolved = convolve(ops, x, weight, bias, window, **stored)
        return ops.max_pool2d(convolved, pool, "first", **stored)
    owner = "conv2d_max_pool2d"
    learned = (weight,) if bias is None else (weight, bias)
    x, weight, *biases = launcher.floating(owner, x, *learned)
    tall, _, channels, filters = weight.shape
    check_shape(f"{owner}: weight", weight, (tall, tall, x.shape[3], filters))
    if bias is not None:
        check_shape(f"{owner}: bias", bias, (filters,))
    shape = _pooled_shape(x.shape, filters, window, pool)
    y, winners = launcher.empty(shape, x.dtype), launcher.empty(shape, "uint8")
    pixels = math.prod(shape[1:3])
    group = 8 if shape[0] * pixels * blocks(filters, 8) >= _BUSY else 4
    groups = blocks(filters, group)
    launcher.launch(
        "direct_convolution",
        f"conv2d_max_pool2d<{c_name(x)}, {tall}, {group}>",
        *_grid_and_block(x.shape[0], pixels * groups),
        (
            *(x, weight, biases[0] if biases else None, y, winners),
            *(*_sizes(x.shape, shape, window), int(relu)),
        ),
        shared=(tall * tall * channels + 1) * groups * group * x.dtype.itemsize,
    )
    return y, winners


def conv2d_max_pool2d_backward(
    launcher: Launcher,
    ops: Any,
    x: Array,
    weight: Array,
    y: Array,
    winners: Array,
    dy: Array,
    window: Window,
    relu: bool,
    pool: Window,
    need_dx: bool,
    *,
    in_parts: bool = False,
    together: bool = False,
    stored: Any = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `conv2d_max_pool2d`: (dx or None, dweight, dbias).

    ``in_parts``, ``together`` and ``stored`` are those of `conv2d_backward`, which does it where this
    convolution is not a direct one: with ``stored``, what lies between it and the pool's does so like
    dy.
    """
    owner = "conv2d_max_pool2d_backward"
    shape = _pooled_shape(x.shape, weight.shape[3], window, pool)
    for name, array in (("y", y), ("winners", winners), ("dy", dy)):
        check_shape(f"{owner}: {name}", array, shape)
    if not suits(x.shape, weight.shape, window, pool):
        convolved = (x.shape[0], *window.output_shape(*x.shape[1:3]), weight.shape[3])
        gate = y if relu else None
        between = {} if stored is None else {"stored": dy.dtype}
        dconvolved = ops.max_pool2d_backward(dy, winners, convolved, pool, "first", gate, **between)
        asked = {"in_parts": in_parts or None, "together": together or None, "stored": stored}
        how = {name: value for name, value in asked.items() if value is not None}
        return ops.conv2d_backward(ops, x, weight, dconvolved, window, need_dx, **how)
    x, weight, y, dy = launcher.floating(owner, x, weight, y, dy)
    (winners,) = of_dtype(launcher, owner, ("uint8",), winners)
    sizes, gate = _sizes(x.shape, shape, window), y if relu else None
    dweight, dbias = _weight_gradients(launcher, x, weight, (gate, winners, dy), sizes, in_parts)
    if not need_dx:
        return None, dweight, dbias
    dx = launcher.empty(x.shape, x.dtype)
    launcher.launch(
        "direct_convolution",
        f"image_gradient<{c_name(x)}, {weight.shape[0]}>",
        *_grid_and_block(x.shape[0], math.prod(x.shape[1:])),
        (weight, gate, winners, dy, dx, *sizes),
        shared=weight.size * x.dtype.itemsize,
    )
    return dx, dweight, dbias


def _weight_gradients(
    launcher: Launcher,
    x: Array,
    weight: Array,
    outputs: tuple[Array | None, Array, Array],
    sizes: tuple[int, ...],
    in_parts: bool,
) -> tuple[Array, Array]:
    tall, _, channels, filters = weight.shape
    (_, _, dy), pairs = outputs, channels * filters
    rounds = blocks(math.prod(dy.shape[1:3]), _THREADS // pairs)  # of a block over an image
    down = min(x.shape[0], _MOST_SUMS)
    grid = (max(1, min(rounds, _FEW_SUMS // max(down, 1))), down)
    splits = math.prod(grid)
    result = Result(launcher.empty(weight.shape, x.dtype), launcher.empty((filters,), x.dtype))
    parts = launcher.empty((splits, *weight.shape), x.dtype)
    bias_parts = launcher.empty((splits, filters), x.dtype)
    few = 0 < (parts.size + bias_parts.size) * x.dtype.itemsize <= _MOST_BYTES_OF_ONE
    quads = weight.size % 4 == filters % 4 == 0 and (weight.size + filters) // 4 <= _THREADS
    by_last = few and quads
    launcher.launch(
        "direct_convolution",
        f"sum_gradients<{c_name(x)}, {tall}>",
        grid,
        (_THREADS,),
        (
            *(x, *outputs, parts, bias_parts, result.y, result.column_sums),
            *(launcher.counter() if by_last else None, *sizes),
        ),
        shared=_LINES_AT_ONCE * (_THREADS + pairs) * x.dtype.itemsize,
    )
    if by_last:
        return result.y, result.column_sums
    if in_parts and splits:
        return parts, bias_parts
    sum_splits(launcher, splits, Result(parts, bias_parts), filters, result)
    return result.y, result.column_sums


def suits(
    input_shape: tuple[int, ...], weight_shape: tuple[int, ...], window: Window, pool: Window
) -> bool:
    """Few enough products that tensor cores have nothing to win, and a plain 2x2 pool."""
    tall, wide, channels, filters = weight_shape
    rows, columns = window.output_shape(*input_shape[1:3])
    plain = window.stride == (1, 1) and pool.kernel_size == pool.stride == (2, 2)
    small = tall == wide and tall in _EDGES and channels <= _MOST_CHANNELS
    indexable = max(math.prod(input_shape[1:]), rows * columns * filters) < 2**31
    return plain and small and 0 < filters <= _MOST_FILTERS and indexable


def _pooled_shape(
    input_shape: tuple[int, ...], filters: int, window: Window, pool: Window
) -> tuple[int, ...]:
    convolved = window.output_shape(*input_shape[1:3])
    return (input_shape[0], *pool.output_shape(*convolved), filters)


def _sizes(
    input_shape: tuple[int, ...], pooled_shape: tuple[int, ...], window: Window
) -> tuple[int, ...]:
    """The SIZE_PARAMETERS of direct_convolution.cu."""
    _, rows, columns, filters = pooled_shape
    top, _, left, _ = window.padding
    return (*input_shape, filters, rows, columns, top, left)


def _grid_and_block(images: int, per_image: int) -> tuple[Size, Size]:
    """A thread for each of ``per_image`` things, in blocks that share them evenly."""
    wide = blocks(per_image, _THREADS)
    threads = blocks(blocks(per_image, max(wide, 1)), WARP) * WARP
    return (wide, min(images, max(1, _MOST_WANTED // max(wide, 1)))), (max(threads, WARP),)
