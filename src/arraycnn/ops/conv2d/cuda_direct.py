"""Launch code of direct_convolution.cu: few-channel convolution and max-pool in one."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.beside import Start
from arraycnn.ops.cuda.checks import check_shape, of_dtype
from arraycnn.ops.cuda.ending import MakesUpdates, launch_with_updates
from arraycnn.ops.cuda.launcher import WARP, Argument, Launcher, Size, Struct, blocks, c_name
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

_MOST_SUMS = 512

_MOST_BYTES_OF_ONE = 192 * 1024
"""Of partial sums that the last block adds up by itself: more take it longer than a second kernel."""


@dataclass(frozen=True)
class Source:
    """Images that are computed where a direct convolution reads them, and lie nowhere: a struct of the
    kind of StoredImages in direct_convolution.cu.

    Attributes
    ----------
    name, text : str
        The C++ type, and its definition.
    members : tuple of arrays in C order, int, np.float32 or np.float64
        Of the struct, in order: one at least.
    shape : (N, H, W, C)
    dtype : str
        Of the numbers that it gives: those of the weights.
    """

    name: str
    text: str
    members: tuple[Argument, ...]
    shape: tuple[int, ...]
    dtype: str

    def reshape(self, shape: tuple[int, ...]) -> "Source":
        """The same numbers, in C order, as images of another shape."""
        return replace(self, shape=shape)


def conv2d_max_pool2d(
    launcher: Launcher,
    ops: Any,
    x: Array | Source,
    weight: Array,
    bias: Array | None,
    window: Window,
    relu: bool,
    pool: Window,
    **stored: Any,
) -> tuple[Array, Array]:
    """`max_pool2d` with ties="first" of `conv2d`, or of max(`conv2d`, 0): (y, winners).

    ``x`` is a `Source` only of shapes that `suits`. ``stored`` as of those two: then what lies between
    them does so like y.
    """
    if not suits(x.shape, weight.shape, window, pool):
        convolve = ops.conv2d_relu if relu else ops.conv2d
        convolved = convolve(ops, x, weight, bias, window, **stored)
        return ops.max_pool2d(convolved, pool, "first", **stored)
    owner = "conv2d_max_pool2d"
    learned = (weight,) if bias is None else (weight, bias)
    images, (weight, *biases) = _images(launcher, owner, x, *learned)
    tall, _, channels, filters = weight.shape
    check_shape(f"{owner}: weight", weight, (tall, tall, x.shape[3], filters))
    if bias is not None:
        check_shape(f"{owner}: bias", bias, (filters,))
    shape = _pooled_shape(x.shape, filters, window, pool)
    y, winners = launcher.empty(shape, weight.dtype), launcher.empty(shape, "uint8")
    pixels = math.prod(shape[1:3])
    group = 8 if shape[0] * pixels * blocks(filters, 8) >= _BUSY else 4
    groups = blocks(filters, group)
    Start(
        "direct_convolution",
        f"conv2d_max_pool2d<{c_name(weight)}, {tall}, {group}{images.type}>",
        *_grid_and_block(x.shape[0], pixels * groups),
        (
            *(images.given, weight, biases[0] if biases else None, y, winners),
            *(*_sizes(x.shape, shape, window), int(relu)),
        ),
        (tall * tall * channels + 1) * groups * group * weight.dtype.itemsize,
        images.text,
    ).launch(launcher)
    return y, winners


@dataclass(frozen=True)
class _Images:
    """What a kernel is given of its images: the struct, and of a `Source` its type behind the others,
    and its text."""

    given: Struct
    type: str = ""
    text: str = ""


def _images(
    launcher: Launcher, owner: str, x: Array | Source, *others: Array
) -> tuple[_Images, tuple[Array, ...]]:
    """The images, and ``others`` as `Launcher.floating` has them, of whose dtype they are."""
    if not isinstance(x, Source):
        x, *rest = launcher.floating(owner, x, *others)
        struct = Struct((x, math.prod(x.shape[1:])), f"StoredImages<{c_name(x)}>")
        return _Images(struct), tuple(rest)
    given = launcher.floating(owner, *others)
    if x.dtype != str(given[0].dtype):
        message = f"{owner} on CUDA: x must be {given[0].dtype} as its weights are, got {x.dtype}"
        raise InvalidTypeError(message)
    launcher.ours(owner, *[one for one in x.members if not isinstance(one, int | np.floating)])
    return _Images(Struct(x.members, x.name), f", {x.name}", x.text), given


def conv2d_max_pool2d_backward(
    launcher: Launcher,
    ops: Any,
    x: Array | Source,
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
    ending: MakesUpdates | None = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `conv2d_max_pool2d`: (dx or None, dweight, dbias).

    ``ending`` is asked where the last block makes them whole, and nobody needs dx. ``in_parts``,
    ``together`` and ``stored`` are those of `conv2d_backward`, which does it where this convolution is
    not a direct one: with ``stored``, what lies between it and the pool's does so like dy.
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
    images, (weight, y, dy) = _images(launcher, owner, x, weight, y, dy)
    (winners,) = of_dtype(launcher, owner, ("uint8",), winners)
    sizes, gate = _sizes(x.shape, shape, window), y if relu else None
    outputs = gate, winners, dy
    ending = None if need_dx else ending
    dweight, dbias = _weight_gradients(launcher, images, weight, outputs, sizes, in_parts, ending)
    if not need_dx:
        return None, dweight, dbias
    dx = launcher.empty(x.shape, dy.dtype)
    launcher.launch(
        "direct_convolution",
        f"image_gradient<{c_name(dy)}, {weight.shape[0]}>",
        *_grid_and_block(x.shape[0], math.prod(x.shape[1:])),
        (weight, gate, winners, dy, dx, *sizes),
        shared=weight.size * dy.dtype.itemsize,
    )
    return dx, dweight, dbias


def _weight_gradients(
    launcher: Launcher,
    images: _Images,
    weight: Array,
    outputs: tuple[Array | None, Array, Array],
    sizes: tuple[int, ...],
    in_parts: bool,
    ending: MakesUpdates | None,
) -> tuple[Array, Array]:
    tall, _, channels, filters = weight.shape
    (_, _, dy), pairs = outputs, channels * filters
    rounds = blocks(math.prod(dy.shape[1:3]), _THREADS // pairs)  # of a block over an image
    down = min(dy.shape[0], _MOST_SUMS)
    grid = (max(1, min(rounds, _FEW_SUMS // max(down, 1))), down)
    splits = math.prod(grid)
    result = Result(launcher.empty(weight.shape, dy.dtype), launcher.empty((filters,), dy.dtype))
    parts = launcher.empty((splits, *weight.shape), dy.dtype)
    bias_parts = launcher.empty((splits, filters), dy.dtype)
    few = 0 < (parts.size + bias_parts.size) * dy.dtype.itemsize <= _MOST_BYTES_OF_ONE
    quads = weight.size % 4 == filters % 4 == 0 and (weight.size + filters) // 4 <= _THREADS
    by_last = few and quads
    made = None
    if by_last and ending is not None:
        made = ending(result.y, result.column_sums, _THREADS, launcher.counter())
    start = Start(
        "direct_convolution",
        f"sum_gradients<{c_name(dy)}, {tall}{images.type}>",
        grid,
        (_THREADS,),
        (
            *(images.given, *outputs, parts, bias_parts, result.y, result.column_sums),
            *(launcher.counter() if by_last and made is None else None, *sizes),
        ),
        _LINES_AT_ONCE * (_THREADS + pairs) * dy.dtype.itemsize,
        images.text,
    )
    if made is not None:
        launch_with_updates(launcher, start, made)
    else:
        start.launch(launcher)
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
