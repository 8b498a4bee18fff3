"""3x3 convolution with 2.25 times fewer multiplications: Winograd's F(2x2, 3x3).

Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016, section 4.1: a tile of
2x2 outputs is A' [(G g G') * (B' d B)] A for a 4x4 patch d of the image and a 3x3 filter g, where
* multiplies number by number. Over many tiles, channels and filters, each of the 16 places of the
products is a matrix product: tiles x channels times channels x filters.

Backward is the exact adjoint, step by step. With dM = A dy A' the gradient of the products,

    dU = V' dM, and dg = G' dU G;    dV = dM U', and the patch's gradient is B dV B'.

A 2x2 pool that follows takes just one tile: it is done where the tile is made, and neither its input
nor the gradient of that ever lies in memory.
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.links import LoopOverImages, run_links
from arraycnn.ops.compiled.kernels.pointers import after, at, carray, lanes_of
from arraycnn.ops.compiled.kernels.vectors import clear_vector, copy_vector
from arraycnn.ops.compiled.launch_struct import Bytes, LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_winograd_tiles import (
    filter_gradient_tile,
    filter_tile,
    gradient_tile,
    input_gradient_tile,
    input_gradient_tile_at_edge,
    input_tile,
    input_tile_at_edge,
    output_tile,
    pooled_gradient_tile,
    pooled_tile,
)
from arraycnn.ops.dense.compiled_products import multiply

PLACES = 16
"""Of a transformed tile: 4x4."""

_FEW = 16
"""Rows that are turned at a time: a cache has room for their lines, however far they are apart."""


@compiled
def _transform_band(  # type: ignore[no-untyped-def]
    v, place, x, zeros, height, width, channels, apart, top, left, first, last, across
):
    """The patches of the tiles in the rows from ``first`` to ``last``, transformed.

    Taken are ``channels`` of the ``apart`` that the image has.
    """
    step = lanes_of(x)
    for row in range(first, last):
        for column in range(across):
            i, j = 2 * row - top, 2 * column - left
            target = after(v, ((row - first) * across + column) * channels)
            start = after(x, (i * width + j) * apart)
            if i >= 0 and j >= 0 and i + 4 <= height and j + 4 <= width:
                for c in range(0, channels, step):
                    input_tile(after(target, c), place, after(start, c), width * apart, apart)
                continue
            for c in range(0, channels, step):
                input_tile_at_edge(
                    after(target, c), place, after(start, c), width * apart, apart,
                    i, j, height, width, zeros,
                )  # fmt: skip


class TransformFilters(LaunchStruct):
    weight: Reals
    u: Reals
    turned: bool
    channels: int
    filters: int
    block_rows: int
    place_stride: int


@compiled
def transform_filters(block, launch: TransformFilters, scratch):  # type: ignore[no-untyped-def]
    """u, (16, C, F), of weight, (3, 3, C, F); where they are to be turned, (16, F, C).

    Each place is ``apart`` numbers behind the one before. A block does ``per`` rows of C or F.
    """
    weight, u, turned = launch.weight, launch.u, launch.turned
    channels, filters, per, apart = (
        launch.channels,
        launch.filters,
        launch.block_rows,
        launch.place_stride,
    )
    rows = filters if turned else channels
    columns = channels if turned else filters
    first, last = block * per, min(rows, (block + 1) * per)
    source, size = after(weight, first * columns), rows * columns
    if turned:
        source, size = at(scratch, 0), per * columns
        given, across = carray(weight, 9 * channels * filters), carray(source, 9 * size)
        for tap in range(9):
            for c in range(0, channels, _FEW):
                for f in range(first, last):
                    to = tap * size + (f - first) * columns + c
                    taken = (tap * channels + c) * filters + f
                    for _ in range(min(_FEW, channels - c)):
                        across[to] = given[taken]
                        to, taken = to + 1, taken + filters
    for offset in range(0, (last - first) * columns, lanes_of(weight)):
        target = after(u, first * columns + offset)
        filter_tile(target, apart, after(source, offset), 3 * size, size)


class Forward(LaunchStruct):
    x: Reals
    u: Reals
    bias: Reals
    y: Reals
    winners: Bytes | None
    height: int
    width: int
    channels: int
    filters: int
    padding_top: int
    padding_left: int
    output_height: int
    output_width: int
    tile_rows: int
    tile_columns: int
    band_rows: int
    relu: bool
    block_bands: int
    v_stride: int
    m_stride: int
    u_stride: int


@compiled
def forward(block, launch: Forward, scratch):  # type: ignore[no-untyped-def]
    """Bands of rows of tiles, a block takes some of one image: y, and with a pool its winners."""
    down, band, taken = launch.tile_rows, launch.band_rows, launch.block_bands
    bands = -(-down // band)
    for number in range(block * taken, (block + 1) * taken):
        first = number % bands * band
        _forward_band(launch, scratch, number // bands, first, min(first + band, down))


@compiled
def _forward_band(launch: Forward, scratch, image, first, last):  # type: ignore[no-untyped-def]
    """The rows of tiles from ``first`` to ``last`` of one image."""
    x, u, bias, y, winners = launch.x, launch.u, launch.bias, launch.y, launch.winners
    height, width, channels, filters = launch.height, launch.width, launch.channels, launch.filters
    top, left, rows, columns = (
        launch.padding_top,
        launch.padding_left,
        launch.output_height,
        launch.output_width,
    )
    across, relu = launch.tile_columns, launch.relu
    v_place, m_place, u_place = launch.v_stride, launch.m_stride, launch.u_stride
    tiles, step = (last - first) * across, lanes_of(x)
    zeros = at(scratch, 0)
    clear_vector(zeros)
    v = after(zeros, step)
    m = after(v, PLACES * v_place)
    outside = after(m, PLACES * m_place)
    x = after(x, image * height * width * channels)
    _transform_band(
        v, v_place, x, zeros, height, width, channels, channels, top, left, first, last, across
    )
    for number in range(PLACES):
        multiply(
            after(m, number * m_place), filters,
            after(v, number * v_place), channels, 0, 1,
            after(u, number * u_place), 0, filters,
            tiles, filters, 1, channels, 0,
        )  # fmt: skip
    y = after(y, image * rows * columns * filters)
    winners = after(winners, image * rows * columns * filters)
    for tile in range(tiles):
        row, column = first + tile // across, tile % across
        source = after(m, tile * filters)
        if launch.winners is not None:
            offset = (row * columns + column) * filters
            for f in range(0, filters, step):
                pooled_tile(
                    after(y, offset + f), after(winners, offset + f),
                    after(source, f), m_place, after(bias, f), relu,
                )  # fmt: skip
            continue
        i, j = 2 * row, 2 * column
        whole = i + 2 <= rows and j + 2 <= columns
        target, line = after(y, (i * columns + j) * filters), columns * filters
        if not whole:
            target, line = outside, 2 * filters
        for f in range(0, filters, step):
            output_tile(
                after(target, f), line, filters, after(source, f), m_place, after(bias, f), relu
            )
        if not whole:
            for a in range(min(2, rows - i)):
                for b in range(min(2, columns - j)):
                    for f in range(0, filters, step):
                        copy_vector(
                            after(y, ((i + a) * columns + j + b) * filters + f),
                            after(outside, (2 * a + b) * filters + f),
                        )


@compiled
def _gradients_of_band(  # type: ignore[no-untyped-def]
    dm,
    place,
    dbias,
    dy,
    y,
    winners,
    pooled,
    rows,
    columns,
    filters,
    first,
    last,
    across,
    relu,
    outside,
):
    """dm of the tiles in the rows from ``first`` to ``last``, of one image."""
    step = lanes_of(dm)
    for row in range(first, last):
        for column in range(across):
            target = after(dm, ((row - first) * across + column) * filters)
            if pooled:
                offset = (row * columns + column) * filters
                for f in range(0, filters, step):
                    pooled_gradient_tile(
                        after(target, f), place, after(dbias, f), after(dy, offset + f),
                        after(y, offset + f), after(winners, offset + f), relu,
                    )  # fmt: skip
                continue
            i, j = 2 * row, 2 * column
            offset, line = (i * columns + j) * filters, columns * filters
            gradient, output = after(dy, offset), after(y, offset)
            if i + 2 > rows or j + 2 > columns:
                for a in range(2):
                    for b in range(2):
                        for f in range(0, filters, step):
                            there = (2 * a + b) * filters + f
                            here = offset + (a * columns + b) * filters + f
                            if i + a < rows and j + b < columns:
                                copy_vector(after(outside, there), after(dy, here))
                                copy_vector(after(outside, 4 * filters + there), after(y, here))
                            else:
                                clear_vector(after(outside, there))
                                clear_vector(after(outside, 4 * filters + there))
                gradient, output, line = outside, after(outside, 4 * filters), 2 * filters
            for f in range(0, filters, step):
                gradient_tile(
                    after(target, f), place, after(dbias, f),
                    after(gradient, f), after(output, f), line, filters, relu,
                )  # fmt: skip


class Backward(LoopOverImages):
    x: Reals
    u_transposed: Reals | None
    dy: Reals
    y: Reals
    winners: Bytes | None
    dx: Reals | None
    dweights: Reals
    dbiases: Reals
    height: int
    width: int
    channels: int
    filters: int
    padding_top: int
    padding_left: int
    output_height: int
    output_width: int
    tile_rows: int
    tile_columns: int
    band_rows: int
    relu: bool
    images: int
    groups: int
    parts: int
    v_stride: int
    dm_stride: int
    u_stride: int


@compiled
def backward(block, launch: Backward, scratch):  # type: ignore[no-untyped-def]
    """A group of images and a part of the channels a block: their dx, dweight and dbias."""
    x, u_transposed = launch.x, launch.u_transposed
    dy, y, winners = launch.dy, launch.y, launch.winners
    dx, dweight, dbias = launch.dx, launch.dweights, launch.dbiases
    height, width, apart, filters = launch.height, launch.width, launch.channels, launch.filters
    top, left, rows, columns = (
        launch.padding_top,
        launch.padding_left,
        launch.output_height,
        launch.output_width,
    )
    down, across, band, relu = launch.tile_rows, launch.tile_columns, launch.band_rows, launch.relu
    images, groups, parts = launch.images, launch.groups, launch.parts
    v_place, dm_place, u_place = launch.v_stride, launch.dm_stride, launch.u_stride
    group, channels = block // parts, apart // parts
    part = block % parts * channels
    size, step = channels * filters, lanes_of(x)
    zeros, waste = at(scratch, 0), at(scratch, step)
    clear_vector(zeros)
    clear_vector(waste)
    outside = after(waste, step)
    du = after(outside, 8 * filters)
    v = after(du, PLACES * size)
    dm = after(v, PLACES * v_place)
    dweight = after(dweight, group * 9 * apart * filters + part * filters)
    dbias = after(dbias, (group * parts + block % parts) * filters)
    for n in range(0, PLACES * size, step):
        clear_vector(after(du, n))
    for f in range(0, filters, step):
        clear_vector(after(dbias, f))
    for image in range(group * images // groups, (group + 1) * images // groups):
        run_links(launch.before, image, scratch)
        source = after(x, image * height * width * apart + part)
        offset = image * rows * columns * filters
        target = after(dx, image * height * width * apart + part)
        if launch.dx is not None:
            for pixel in range(height * width):
                for c in range(0, channels, step):
                    clear_vector(after(target, pixel * apart + c))
        for first in range(0, down, band):
            last = min(first + band, down)
            tiles = (last - first) * across
            _gradients_of_band(
                dm, dm_place, dbias, after(dy, offset), after(y, offset), after(winners, offset),
                launch.winners is not None, rows, columns, filters, first, last, across, relu, outside,
            )  # fmt: skip
            _transform_band(
                v, v_place, source, zeros, height, width, channels, apart,
                top, left, first, last, across,
            )  # fmt: skip
            for number in range(PLACES):
                multiply(
                    after(du, number * size), filters,
                    after(v, number * v_place), 1, 0, channels,
                    after(dm, number * dm_place), 0, filters,
                    channels, filters, 1, tiles, 1,
                )  # fmt: skip
            if launch.dx is None:
                continue
            for number in range(PLACES):  # v is not needed any more: its place takes dv
                multiply(
                    after(v, number * v_place), channels,
                    after(dm, number * dm_place), filters, 0, 1,
                    after(u_transposed, number * u_place + part), 0, apart,
                    tiles, channels, 1, filters, 0,
                )  # fmt: skip
            for tile in range(tiles):
                i, j = 2 * (first + tile // across) - top, 2 * (tile % across) - left
                gradient = after(v, tile * channels)
                start = after(target, (i * width + j) * apart)
                if i >= 0 and j >= 0 and i + 4 <= height and j + 4 <= width:
                    for c in range(0, channels, step):
                        input_gradient_tile(
                            after(start, c), width * apart, apart, after(gradient, c), v_place
                        )
                    continue
                for c in range(0, channels, step):
                    input_gradient_tile_at_edge(
                        after(start, c), width * apart, apart, after(gradient, c), v_place,
                        i, j, height, width, waste,
                    )  # fmt: skip
        run_links(launch.after, image, scratch)
    for c in range(channels):
        for f in range(0, filters, step):
            offset = c * filters + f
            filter_gradient_tile(
                after(dweight, offset),
                3 * apart * filters,
                apart * filters,
                after(du, offset),
                size,
            )
    if part != 0:  # each part has summed all of dy, and one of them counts
        for f in range(0, filters, step):
            clear_vector(after(dbias, f))
