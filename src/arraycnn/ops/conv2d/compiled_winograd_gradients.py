"""The gradients of Winograd's convolution (`compiled_winograd.py`).

Backward is the exact adjoint, step by step. With dM = A dy A' the gradient of the products,

    dU = V' dM, and dg = G' dU G;    dV = dM U', and the patch's gradient is B dV B'.
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.links import LoopOverImages, run_links
from arraycnn.ops.compiled.kernels.pointers import after, at, lanes_of
from arraycnn.ops.compiled.kernels.vectors import clear_vector, copy_vector
from arraycnn.ops.compiled.launch_struct import Bytes, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_winograd import PLACES, TileSizes, transform_band
from arraycnn.ops.conv2d.compiled_winograd_tiles import (
    filter_gradient_tile,
    gradient_tile,
    input_gradient_tile,
    input_gradient_tile_at_edge,
    pooled_gradient_tile,
)
from arraycnn.ops.dense.compiled_products import multiply


class Backward(LoopOverImages):
    """The channels are cut into ``parts``; ``dbiases`` and ``dweights`` are of each group of images."""

    x: Reals
    u_transposed: Reals | None
    dy: Reals
    y: Reals
    winners: Bytes | None
    dx: Reals | None
    dweights: Reals
    dbiases: Reals
    sizes: TileSizes
    relu: bool
    images: int
    groups: int
    parts: int
    v_stride: int
    dm_stride: int
    u_stride: int


@compiled
def _gradients_of_band(launch: Backward, dm, dbias, image, first, last, outside):  # type: ignore[no-untyped-def]
    """dm of the tiles in the rows from ``first`` to ``last``, of one image."""
    sizes, dm_stride, relu, step = launch.sizes, launch.dm_stride, launch.relu, lanes_of(dm)
    output_height, output_width = sizes.output_height, sizes.output_width
    tile_columns, filters = sizes.tile_columns, sizes.filters
    size = output_height * output_width * filters
    dy, y = after(launch.dy, image * size), after(launch.y, image * size)
    winners, pooled = after(launch.winners, image * size), launch.winners is not None
    for row in range(first, last):
        for column in range(tile_columns):
            target = after(dm, ((row - first) * tile_columns + column) * filters)
            if pooled:
                offset = (row * output_width + column) * filters
                for f in range(0, filters, step):
                    pooled_gradient_tile(
                        after(target, f), dm_stride, after(dbias, f), after(dy, offset + f),
                        after(y, offset + f), after(winners, offset + f), relu,
                    )  # fmt: skip
                continue
            i, j = 2 * row, 2 * column
            offset, line = (i * output_width + j) * filters, output_width * filters
            gradient, output = after(dy, offset), after(y, offset)
            if i + 2 > output_height or j + 2 > output_width:
                for a in range(2):
                    for b in range(2):
                        for f in range(0, filters, step):
                            there = (2 * a + b) * filters + f
                            here = offset + (a * output_width + b) * filters + f
                            if i + a < output_height and j + b < output_width:
                                copy_vector(after(outside, there), after(dy, here))
                                copy_vector(after(outside, 4 * filters + there), after(y, here))
                            else:
                                clear_vector(after(outside, there))
                                clear_vector(after(outside, 4 * filters + there))
                gradient, output, line = outside, after(outside, 4 * filters), 2 * filters
            for f in range(0, filters, step):
                gradient_tile(
                    after(target, f), dm_stride, after(dbias, f),
                    after(gradient, f), after(output, f), line, filters, relu,
                )  # fmt: skip


@compiled
def backward(block, launch: Backward, scratch):  # type: ignore[no-untyped-def]
    """A group of images and a part of the channels a block: their dx, dweight and dbias."""
    sizes, images, groups, parts = launch.sizes, launch.images, launch.groups, launch.parts
    height, width, filters = sizes.height, sizes.width, sizes.filters
    all_channels, tile_columns = sizes.channels, sizes.tile_columns
    tile_rows, band_rows = sizes.tile_rows, sizes.band_rows
    v_stride, dm_stride, u_stride = launch.v_stride, launch.dm_stride, launch.u_stride
    x, dx, u_transposed, need_dx = launch.x, launch.dx, launch.u_transposed, launch.dx is not None
    group, channels = block // parts, all_channels // parts
    part = block % parts * channels
    size, step = channels * filters, lanes_of(x)
    zeros, waste = at(scratch, 0), at(scratch, step)
    clear_vector(zeros)
    clear_vector(waste)
    outside = after(waste, step)
    du = after(outside, 8 * filters)
    v = after(du, PLACES * size)
    dm = after(v, PLACES * v_stride)
    dweight = after(launch.dweights, group * 9 * all_channels * filters + part * filters)
    dbias = after(launch.dbiases, (group * parts + block % parts) * filters)
    for n in range(0, PLACES * size, step):
        clear_vector(after(du, n))
    for f in range(0, filters, step):
        clear_vector(after(dbias, f))
    for image in range(group * images // groups, (group + 1) * images // groups):
        run_links(launch.before, image, scratch)
        source = after(x, image * height * width * all_channels + part)
        target = after(dx, image * height * width * all_channels + part)
        if need_dx:
            for pixel in range(height * width):
                for c in range(0, channels, step):
                    clear_vector(after(target, pixel * all_channels + c))
        for first in range(0, tile_rows, band_rows):
            last = min(first + band_rows, tile_rows)
            tiles = (last - first) * tile_columns
            _gradients_of_band(launch, dm, dbias, image, first, last, outside)
            transform_band(sizes, v, v_stride, source, zeros, channels, first, last)
            for number in range(PLACES):
                multiply(
                    after(du, number * size), filters,
                    after(v, number * v_stride), 1, 0, channels,
                    after(dm, number * dm_stride), 0, filters,
                    channels, filters, 1, tiles, 1,
                )  # fmt: skip
            if not need_dx:
                continue
            for number in range(PLACES):  # v is not needed any more: its place takes dv
                multiply(
                    after(v, number * v_stride), channels,
                    after(dm, number * dm_stride), filters, 0, 1,
                    after(u_transposed, number * u_stride + part), 0, all_channels,
                    tiles, channels, 1, filters, 0,
                )  # fmt: skip
            _add_gradients(launch, target, v, channels, first, tiles, waste)
        run_links(launch.after, image, scratch)
    for c in range(channels):
        for f in range(0, filters, step):
            offset = c * filters + f
            filter_gradient_tile(
                after(dweight, offset), 3 * all_channels * filters, all_channels * filters,
                after(du, offset), size,
            )  # fmt: skip
    if part != 0:  # each part has summed all of dy, and one of them counts
        for f in range(0, filters, step):
            clear_vector(after(dbias, f))


@compiled
def _add_gradients(launch: Backward, dx, dv, channels, first, tiles, waste):  # type: ignore[no-untyped-def]
    """Add the gradients of the patches of so many ``tiles``, from the row ``first`` on, to ``dx``."""
    sizes, v_stride, step = launch.sizes, launch.v_stride, lanes_of(dx)
    height, width, tile_columns = sizes.height, sizes.width, sizes.tile_columns
    padding_top, padding_left = sizes.padding_top, sizes.padding_left
    column_stride, row_stride = sizes.channels, width * sizes.channels
    for tile in range(tiles):
        i = 2 * (first + tile // tile_columns) - padding_top
        j = 2 * (tile % tile_columns) - padding_left
        gradient = after(dv, tile * channels)
        start = after(dx, (i * width + j) * column_stride)
        if i >= 0 and j >= 0 and i + 4 <= height and j + 4 <= width:
            for c in range(0, channels, step):
                input_gradient_tile(
                    after(start, c), row_stride, column_stride, after(gradient, c), v_stride
                )
            continue
        for c in range(0, channels, step):
            input_gradient_tile_at_edge(
                after(start, c), row_stride, column_stride, after(gradient, c), v_stride,
                i, j, height, width, waste,
            )  # fmt: skip
