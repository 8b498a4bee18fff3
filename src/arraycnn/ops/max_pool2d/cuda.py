"""Launch code of windows.cu: columns and pools. Contracts in `arraycnn.ops.generic`."""

import math
from typing import Any

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import as_numbers, check_shape, of_dtype, stored_as
from arraycnn.ops.cuda.launcher import Argument, Launcher, blocks, c_name
from arraycnn.ops.window import Window

_THREADS = 256

_MOST_WANTED = 4096
"""Blocks: enough for every processor; more images are taken by the same blocks, one after another,
which saves taking a place apart into its axes anew."""

_BYTES = 16
"""What a thread moves at once."""

_MOST_PLACES = 256  # that an unsigned byte can tell apart


def im2col(launcher: Launcher, x: Array, window: Window) -> Array:
    (x,) = launcher.floating("im2col", x)
    images, height, width, _ = x.shape
    rows = images * math.prod(window.output_shape(height, width))
    columns = launcher.empty((rows, _window_length(x.shape, window)), x.dtype)
    _launch(launcher, f"im2col<{c_name(x)}>", columns, (x, columns), x.shape, window)
    return columns


def col2im(
    launcher: Launcher, columns: Array, input_shape: tuple[int, ...], window: Window
) -> Array:
    (columns,) = launcher.floating("col2im", columns)
    rows = input_shape[0] * math.prod(window.output_shape(*input_shape[1:3]))
    check_shape("col2im: columns", columns, (rows, _window_length(input_shape, window)))
    x = launcher.empty(input_shape, columns.dtype)
    _launch(launcher, f"col2im<{c_name(x)}>", x, (columns, x), input_shape, window, columns)
    return x


def max_pool2d(
    launcher: Launcher, x: Array, window: Window, ties: str, *, stored: Any = None
) -> tuple[Array, Array]:
    """``stored``, here and below, as `stored_as` has it: the dtype of the result."""
    (x,) = stored_as(launcher, "max_pool2d", stored, x)
    output_shape = _pooled_shape("max_pool2d", x.shape, window)
    result = launcher.empty(output_shape, x.dtype if stored is None else stored)
    x, y = _picking(x, result)
    places = math.prod(window.kernel_size)
    if ties == "all":
        assert stored is None, "a program has no such pool"
        winners = launcher.empty((places, *output_shape), "bool")
        kernel = f"max_pool2d_ties<{c_name(x)}, {_edge(window)}>"
    else:
        winners = launcher.empty(output_shape, "uint8" if places <= _MOST_PLACES else "int32")
        pack = _pack(launcher, window, x.shape, (x, y, winners))
        if pack:
            _launch_packs(launcher, "max_pool2d", pack, x.shape, y.shape, (x, y), (x, y, winners))
            return result, winners
        kernel = f"max_pool2d<{c_name(x)}, {c_name(winners)}, {_edge(window)}{_other(y, x)}>"
    _launch(launcher, kernel, y, (x, y, winners), x.shape, window)
    return result, winners


def max_pool2d_backward(
    launcher: Launcher,
    dy: Array,
    winners: Array,
    input_shape: tuple[int, ...],
    window: Window,
    ties: str,
    gate: Array | None = None,
    *,
    stored: Any = None,
) -> Array:
    """With a gate, of dy's shape and dtype, ``dy`` counts only where that is above 0."""
    owner = "max_pool2d_backward"
    dy, *gates = stored_as(launcher, owner, stored, dy, *([] if gate is None else [gate]))
    for one in gates:
        check_shape("max_pool2d_backward: gate", one, dy.shape)
        of_dtype(launcher, f"{owner}: gate", (str(dy.dtype),), one)
    accepted = ("bool",) if ties == "all" else ("uint8", "int32")
    (winners,) = of_dtype(launcher, "max_pool2d_backward", accepted, winners)
    output_shape = _output_shape(input_shape, window)
    check_shape("max_pool2d_backward: dy", dy, output_shape)
    places = (math.prod(window.kernel_size),) if ties == "all" else ()
    check_shape("max_pool2d_backward: winners", winners, (*places, *output_shape))
    result = dx = launcher.empty(input_shape, dy.dtype if stored is None else stored)
    if _overlap(window):
        dy = as_numbers(dy)
    else:
        dy, dx = _picking(dy, dx)
    gates = [as_numbers(gate) for gate in gates]
    arrays = (dy, winners, gates[0] if gates else None, dx)
    pack = _pack(launcher, window, input_shape, (dy, winners, *gates, dx))
    if pack:
        images, height, width, channels = input_shape
        covering = images, blocks(height, 2), blocks(width, 2), channels
        _launch_packs(launcher, owner, pack, input_shape, covering, (dy, dx), arrays)
        return result
    kinds = f"{c_name(dy)}, {c_name(winners)}, {_edge(window)}{_other(dx, dy)}"
    _launch(launcher, f"max_pool2d_backward<{kinds}>", dx, arrays, input_shape, window)
    return result


def at_winners(
    launcher: Launcher, x: Array, winners: Array, window: Window, *, stored: Any = None
) -> Array:
    (x,) = stored_as(launcher, "at_winners", stored, x)
    (winners,) = of_dtype(launcher, "at_winners", ("uint8",), winners)
    check_shape("at_winners: winners", winners, _pooled_shape("at_winners", x.shape, window))
    result = launcher.empty(winners.shape, x.dtype if stored is None else stored)
    x, y = _picking(x, result)
    kernel = f"at_winners<{c_name(x)}, {c_name(winners)}, {_edge(window)}{_other(y, x)}>"
    _launch(launcher, kernel, y, (x, winners, y), x.shape, window, x)
    return result


def avg_pool2d(launcher: Launcher, x: Array, window: Window) -> Array:
    (x,) = launcher.floating("avg_pool2d", x)
    y = launcher.empty(_pooled_shape("avg_pool2d", x.shape, window), x.dtype)
    _launch(launcher, f"avg_pool2d<{c_name(x)}, {_edge(window)}>", y, (x, y), x.shape, window)
    return y


def avg_pool2d_backward(
    launcher: Launcher, dy: Array, input_shape: tuple[int, ...], window: Window
) -> Array:
    (dy,) = launcher.floating("avg_pool2d_backward", dy)
    check_shape("avg_pool2d_backward: dy", dy, _output_shape(input_shape, window))
    dx = launcher.empty(input_shape, dy.dtype)
    kernel = f"avg_pool2d_backward<{c_name(dy)}, {_edge(window)}>"
    _launch(launcher, kernel, dx, (dy, dx), input_shape, window)
    return dx


def _picking(read: Array, written: Array) -> tuple[Array, Array]:
    """Both as a kernel knows them that only picks numbers: it rounds none that are rounded."""
    return as_numbers(read), as_numbers(written) if read.dtype == written.dtype else written


def _overlap(window: Window) -> bool:
    """Whether a pixel may be in two windows: then what these give it is added up."""
    return any(size > step for size, step in zip(window.kernel_size, window.stride, strict=True))


def _other(written: Array, read: Array) -> str:
    """The last of a kernel's types, where it is not that of what it reads."""
    return "" if written.dtype == read.dtype else f", {c_name(written)}"


def _pack(
    launcher: Launcher, window: Window, image_shape: tuple[int, ...], arrays: tuple[Array, ...]
) -> int:
    """Channels that a thread of packed_pools.cu moves at once, 16 bytes of them; 0 where it cannot."""
    pack = _BYTES // max(array.dtype.itemsize for array in arrays)
    suits = _edge(window) == 2 and image_shape[3] % pack == 0
    suits = suits and math.prod(image_shape[1:]) < 2**31
    suits = suits and all(str(array.dtype) not in ("bool", "int32") for array in arrays)
    return pack if suits and all(launcher.address(one) % _BYTES == 0 for one in arrays) else 0


def _grid(wide: int, images: int) -> tuple[int, int]:
    """So many blocks an image, of which as many are at work at once as are wanted."""
    return wide, min(images, max(1, _MOST_WANTED // max(wide, 1)))


def _launch_packs(
    launcher: Launcher,
    kernel: str,
    pack: int,
    image_shape: tuple[int, ...],
    windows_shape: tuple[int, ...],
    typed: tuple[Array, Array],
    arrays: tuple[Argument, ...],
) -> None:
    """Start a kernel of packed_pools.cu with a thread for each pack of ``windows_shape``."""
    images, height, width, channels = image_shape
    wide = blocks(math.prod(windows_shape[1:]) // pack, _THREADS)
    launcher.launch(
        "packed_pools",
        f"{kernel}<{', '.join(map(c_name, typed))}, {pack}>",
        _grid(wide, images),
        (_THREADS,),
        (*arrays, images, height, width, channels // pack),
    )


def _launch(
    launcher: Launcher,
    kernel: str,
    written: Array,
    arrays: tuple[Argument, ...],
    image_shape: tuple[int, ...],
    window: Window,
    *read: Array,
) -> None:
    """Start ``kernel`` with a thread for each number of an image in ``written``."""
    images, height, width, channels = image_shape
    top, _, left, _ = window.padding
    per_image = written.size // max(images, 1)
    padded = math.prod(window.padded_shape(height, width)) * channels
    largest = max(per_image, padded, *(array.size // max(images, 1) for array in read))
    if largest >= 2**31:
        message = (
            f"{kernel.partition('<')[0]} on CUDA: arrays must have fewer than 2^31 numbers an "
            f"image, got {largest}; use smaller images"
        )
        raise InvalidValueError(message)
    wide = blocks(per_image, _THREADS)
    launcher.launch(
        "windows",
        kernel,
        _grid(wide, images),
        (_THREADS,),
        (
            *arrays,
            *(images, height, width, channels, *window.output_shape(height, width)),
            *(*window.kernel_size, *window.stride, top, left),
        ),
    )


def _output_shape(image_shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    images, height, width, channels = image_shape
    return (images, *window.output_shape(height, width), channels)


def _window_length(image_shape: tuple[int, ...], window: Window) -> int:
    return math.prod(window.kernel_size) * image_shape[3]


def _pooled_shape(owner: str, image_shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    if any(window.padding):
        message = f"{owner} on CUDA: the window of a pool has no padding, got {window.padding}"
        raise InvalidValueError(message)
    return _output_shape(image_shape, window)


def _edge(window: Window) -> int:
    """2 for the plain pool, for which kernels are compiled apart; 0 for all others."""
    return 2 if window.kernel_size == window.stride == (2, 2) else 0
