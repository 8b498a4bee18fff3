"""Launch code of convolutions, with what may follow them."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.ops import generic
from arraycnn.ops.aligned_memory import LINE
from arraycnn.ops.compiled.kernels.links import NO_LINKS
from arraycnn.ops.compiled.launcher import ELEMENTS, Launcher
from arraycnn.ops.conv2d import compiled_few_channels as few_channels
from arraycnn.ops.conv2d import compiled_few_channels_pooled as few_pooled
from arraycnn.ops.conv2d import compiled_kernels as convolution
from arraycnn.ops.conv2d import compiled_over_images as over_images
from arraycnn.ops.conv2d import compiled_phases as phases
from arraycnn.ops.conv2d import compiled_winograd as winograd
from arraycnn.ops.conv2d import compiled_winograd_gradients as winograd_gradients
from arraycnn.ops.conv2d.compiled_shapes import Convolution, odd_lines, pixels_in_rows
from arraycnn.ops.dense import compiled_kernels as dense
from arraycnn.ops.kernels import Kernels
from arraycnn.ops.max_pool2d import has_kernel
from arraycnn.ops.max_pool2d.compiled import pooled, spread
from arraycnn.ops.window import Window


def _forward(
    launcher: Launcher,
    owner: str,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    window: Window,
    relu: bool,
    pool: Window | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """y and, with a pool, winners."""
    if bias is None:
        bias = _zeros(weight.shape[3], weight.dtype)
    x, weight, bias = launcher.floating(owner, x, weight, bias)
    images = x.shape
    x = pixels_in_rows(x, window, pool)
    shape = Convolution(x, weight, window, pool)
    y = launcher.empty(shape.y_shape, x.dtype)
    winners = launcher.empty(shape.y_shape, "uint8") if pool else None
    if 0 in y.shape:
        return y, winners
    _, height, width, channels = x.shape
    filters = shape.filters
    if shape.has_rows_of_images("forward"):
        over_images.forward(launcher, shape, bias, y, relu)
        return (y if x.shape == images else y.reshape(*images[:3], filters)), None
    if not shape.suits_winograd:
        rows, columns = shape.outputs
        padded_height, padded_width = window.padded_shape(height, width)
        room = padded_height * padded_width * channels + (rows * columns * filters if pool else 0)
        launch = convolution.Forward(
            x=x, weight=weight, bias=bias, y=y, winners=winners, sizes=shape.sizes, relu=relu,
            pool=shape.pool_window,
        )  # fmt: skip
        launcher.launch(convolution.forward, shape.images, launch, like=x, room=room, by="block")
        return (y if x.shape == images else y.reshape(*images[:3], filters)), winners
    u = _transformed_filters(launcher, weight, turned=False)
    v_stride, m_stride = shape.place_stride(channels), shape.place_stride(filters)
    tile_rows, _, band_rows = shape.tiles
    # A block takes one band, or all bands of an image where it does more with it.
    bands = -(-tile_rows // band_rows)
    block_bands = bands if launcher.is_chaining else 1
    launch_of_bands = winograd.Forward(
        x=x, u=u, bias=bias, y=y, winners=winners, sizes=shape.tile_sizes,
        relu=relu, block_bands=block_bands,
        v_stride=v_stride, m_stride=m_stride, u_stride=u.shape[1],
    )  # fmt: skip
    room = shape.lanes + 16 * (v_stride + m_stride) + 4 * filters
    blocks, by = shape.images * bands // block_bands, "block" if block_bands == bands else ""
    launcher.launch(winograd.forward, blocks, launch_of_bands, like=x, room=room, by=by)
    return y, winners


def _backward(
    launcher: Launcher,
    owner: str,
    x: np.ndarray,
    weight: np.ndarray,
    y: np.ndarray | None,
    winners: np.ndarray | None,
    dy: np.ndarray,
    window: Window,
    relu: bool,
    pool: Window | None,
    need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """(dx or None, dweight, dbias); ``y`` is the output, of which a ReLU's gradient asks."""
    x, weight, dy, y = launcher.floating(owner, x, weight, dy, dy if y is None else y)
    if winners is not None:
        winners = launcher.contiguous(winners)
    shape = Convolution(pixels_in_rows(x, window, pool), weight, window, pool)
    images, channels, filters, groups = shape.images, shape.channels, shape.filters, shape.groups
    dx = launcher.empty(x.shape, x.dtype) if need_dx else None
    if shape.has_rows_of_images("backward"):
        dweight, dbias = over_images.backward(launcher, shape, y if relu else None, dy, dx)
        return dx, dweight, dbias
    parts = shape.parts if shape.suits_winograd else 1
    dbiases = launcher.empty((groups * parts, filters), x.dtype)
    if winners is not None and shape.sums_over_winners:
        sums = launcher.empty((groups, filters, shape.taps_in_rows), x.dtype)
        launch_of_winners = few_pooled.Backward(
            before=NO_LINKS, after=NO_LINKS,
            x=x, filter_rows=_filters_in_rows(launcher, shape) if need_dx else None,
            dy=dy, y=y, winners=winners, dx=dx, sizes=shape.sizes, relu=relu,
            images=images, groups=groups, sums=sums, dbiases=dbiases, pool=shape.pool_window,
        )  # fmt: skip
        room = sum(shape.rooms_of_few(need_dx).values())
        launcher.launch(
            few_pooled.backward, groups, launch_of_winners, like=x, room=room, by="loop"
        )
        return dx, _from_rows(launcher, shape, _sum(launcher, sums)), _sum(launcher, dbiases)
    dweights = launcher.empty((groups, *weight.shape), x.dtype)
    if shape.suits_winograd:
        turned = _transformed_filters(launcher, weight, turned=True) if need_dx else None
        v_stride, dm_stride = shape.place_stride(channels // parts), shape.place_stride(filters)
        launch_of_parts = winograd_gradients.Backward(
            before=NO_LINKS, after=NO_LINKS,
            x=x, u_transposed=turned, dy=dy, y=y, winners=winners, dx=dx,
            dweights=dweights, dbiases=dbiases,
            sizes=shape.tile_sizes, relu=relu, images=images, groups=groups, parts=parts,
            v_stride=v_stride, dm_stride=dm_stride,
            u_stride=0 if turned is None else turned.shape[1],
        )  # fmt: skip
        room = 2 * shape.lanes + 8 * filters + 16 * (channels * filters + v_stride + dm_stride)
        by = "loop" if parts == 1 else ""
        launcher.launch(
            winograd_gradients.backward, groups * parts, launch_of_parts, like=x, room=room, by=by
        )
    else:
        (rows, columns), (kernel_height, kernel_width) = shape.outputs, window.kernel_size
        few, turned, frame = shape.has_few_channels, None, (0, 0)
        if need_dx and few:
            turned = _filters_in_rows(launcher, shape)
        elif need_dx:
            turned = _turned_filters(launcher, weight, window)
            frame = (
                -(-kernel_height // window.stride[0]) - 1,
                -(-kernel_width // window.stride[1]) - 1,
            )
        framed = (rows + 2 * frame[0]) * (columns + 2 * frame[1])
        rooms = shape.rooms_of_few(need_dx and few)
        room = rooms["image"] + (framed + rows * columns) * filters + rooms["patches"]
        launch = convolution.Backward(
            before=NO_LINKS, after=NO_LINKS,
            x=x, turned=turned, dy=dy, y=y, winners=winners, dx=dx, sizes=shape.sizes, relu=relu,
            images=images, groups=groups, dweights=dweights, dbiases=dbiases,
            pool=shape.pool_window,
        )  # fmt: skip
        launcher.launch(convolution.backward, groups, launch, like=x, room=room, by="loop")
    return dx, _sum(launcher, dweights), _sum(launcher, dbiases)


def _filters_in_rows(launcher: Launcher, shape: Convolution) -> np.ndarray:
    """(F, KH, row), each row KW * C numbers and zeros, as patches of few channels are made of."""
    rows = launcher.empty((shape.filters, shape.taps_in_rows), shape.x.dtype)
    launch = few_channels.FiltersInRows(
        weight=shape.weight, rows=rows, kernel_height=shape.weight.shape[0],
        row_size=shape.row_size, filters=shape.filters,
    )  # fmt: skip
    launcher.launch(few_channels.filters_in_rows, 1, launch, like=rows)
    return rows


def _from_rows(launcher: Launcher, shape: Convolution, rows: np.ndarray) -> np.ndarray:
    """What `_filters_in_rows` gives, in the order of a weight."""
    weight = launcher.empty(shape.weight.shape, rows.dtype)
    launch = few_channels.FiltersInRows(
        weight=weight, rows=rows, kernel_height=weight.shape[0], row_size=shape.row_size,
        filters=shape.filters,
    )  # fmt: skip
    launcher.launch(few_channels.filters_from_rows, 1, launch, like=rows)
    return weight


def _transformed_filters(launcher: Launcher, weight: np.ndarray, turned: bool) -> np.ndarray:
    """(16, C, F), or turned (16, F, C), each of the 16 as far apart as `odd_lines` says."""
    channels, filters = weight.shape[2:]
    rows, columns = (filters, channels) if turned else (channels, filters)
    u = launcher.empty((16, odd_lines(rows * columns, weight.itemsize)), weight.dtype)
    block_rows = max(1, ELEMENTS // 64 // columns)
    if turned:  # a cache line of each row of the weight is read at a time
        block_rows = max(block_rows, LINE // weight.itemsize)
    launch = winograd.TransformFilters(
        weight=weight, u=u, turned=turned, channels=channels, filters=filters,
        block_rows=block_rows, u_stride=u.shape[1],
    )  # fmt: skip
    blocks, room = -(-rows // block_rows), 9 * block_rows * columns if turned else 0
    launcher.launch(winograd.transform_filters, blocks, launch, like=weight, room=room)
    return u


def _turned_filters(launcher: Launcher, weight: np.ndarray, window: Window) -> np.ndarray:
    turned = launcher.empty(weight.shape, weight.dtype)
    kernel_height, kernel_width, channels, filters = weight.shape
    launch = phases.TurnFilters(
        weight=weight, turned=turned, kernel_height=kernel_height, kernel_width=kernel_width,
        channels=channels, filters=filters,
        stride_height=window.stride[0], stride_width=window.stride[1],
    )  # fmt: skip
    launcher.launch(phases.turn_filters, 1, launch, like=weight)
    return turned


def _sum(launcher: Launcher, parts: np.ndarray) -> np.ndarray:
    """The sum over the first axis."""
    if parts.shape[0] == 1:
        return parts[0]
    total = launcher.empty(parts.shape[1:], parts.dtype)
    launch = dense.AddParts(
        parts=parts, total=total, count=parts.shape[0], size=total.size, block_size=ELEMENTS
    )
    launcher.launch(dense.add_parts, -(-total.size // ELEMENTS), launch, like=parts)
    return total


_ZEROS: dict[Any, np.ndarray] = {}


def _zeros(count: int, dtype: Any) -> np.ndarray:
    """A bias where there is none; kept, since recordings hold its address."""
    return _ZEROS.setdefault((count, np.dtype(dtype)), np.zeros(count, dtype))


def conv2d(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray,
    bias: np.ndarray | None, window: Window,
) -> np.ndarray:  # fmt: skip
    return _forward(launcher, "conv2d", x, weight, bias, window, False, None)[0]


def conv2d_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray,
    dy: np.ndarray, window: Window, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    return _backward(
        launcher, "conv2d_backward", x, weight, None, None, dy, window, False, None, need_dx
    )


def conv2d_relu(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray,
    bias: np.ndarray | None, window: Window,
) -> np.ndarray:  # fmt: skip
    return _forward(launcher, "conv2d_relu", x, weight, bias, window, True, None)[0]


def conv2d_relu_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, y: np.ndarray,
    dy: np.ndarray, window: Window, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    return _backward(
        launcher, "conv2d_relu_backward", x, weight, y, None, dy, window, True, None, need_dx
    )


def conv2d_max_pool2d(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray,
    bias: np.ndarray | None, window: Window, relu: bool, pool: Window,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    owner = "conv2d_max_pool2d"
    if not has_kernel(pool):  # no program asks for it: NumPy pools at once
        at_once = not launcher.is_chaining and not launcher.is_recording
        assert at_once, "a recording would pool what is not there yet"
        y = _forward(launcher, owner, x, weight, bias, window, relu, None)[0]
        return generic.max_pool2d(y, pool, "first")
    if Convolution(x, weight, window, None).has_rows_of_images("forward"):
        # Winners are those of the convolution: a ReLU before the pool would make others.
        y = _forward(launcher, owner, x, weight, bias, window, False, None)[0]
        y, winners = pooled(launcher, y, pool, "")
        if relu:
            over_images.rectify(launcher, y)
        return y, winners
    return _forward(launcher, owner, x, weight, bias, window, relu, pool)  # type: ignore[return-value]


def conv2d_max_pool2d_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, y: np.ndarray,
    winners: np.ndarray, dy: np.ndarray, window: Window, relu: bool, pool: Window, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    owner = "conv2d_max_pool2d_backward"
    alone = Convolution(x, weight, window, None)
    if not has_kernel(pool) or alone.has_rows_of_images("backward"):
        dy, y = launcher.floating(owner, dy, y)
        dy = over_images.let_through(launcher, dy, y) if relu else dy
        if has_kernel(pool):
            dconv = spread(launcher, dy, winners, alone.y_shape, pool, "")
        else:
            dconv = generic.max_pool2d_backward(dy, winners, alone.y_shape, pool, "first")
        return _backward(
            launcher, owner, x, weight, None, None, dconv, window, False, None, need_dx
        )
    return _backward(launcher, owner, x, weight, y, winners, dy, window, relu, pool, need_dx)
