"""3x3 convolution with 2.25 times fewer multiplications: Winograd's F(2x2, 3x3).

Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016, section 4.1: a tile of
2x2 outputs is A' [(G g G') * (B' d B)] A for a 4x4 patch d of the image and a 3x3 filter g, where
* multiplies number by number. Over many tiles, channels and filters, each of the 16 places of the
products is a matrix product: tiles x channels times channels x filters.

A 2x2 pool that follows takes just one tile: it is done where the tile is made, and neither its input
nor the gradient of that ever lies in memory.
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.pointers import after, at, carray, lanes_of
from arraycnn.ops.compiled.kernels.vectors import clear_vector, copy_vector
from arraycnn.ops.compiled.launch_struct import Bytes, LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_winograd_tiles import (
    filter_tile,
    input_tile,
    input_tile_at_edge,
    output_tile,
    pooled_tile,
)
from arraycnn.ops.dense.compiled_products import multiply

PLACES = 16
"""Of a transformed tile: 4x4."""

_FEW = 16
"""Rows that are turned at a time: a cache has room for their lines, however far they are apart."""


class TileSizes(LaunchStruct):
    """Of one image, its output, and the tiles of 2x2 outputs, in bands of ``band_rows`` rows.

    With a pool the output is the pool's, a number a tile.
    """

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


@compiled
def transform_band(sizes: TileSizes, v, v_stride, x, zeros, channels, first, last):  # type: ignore[no-untyped-def]
    """The patches of the tiles in the rows from ``first`` to ``last``, transformed.

    Taken are ``channels`` of those that the image has.
    """
    height, width, tile_columns = sizes.height, sizes.width, sizes.tile_columns
    padding_top, padding_left, step = sizes.padding_top, sizes.padding_left, lanes_of(x)
    column_stride, row_stride = sizes.channels, width * sizes.channels
    for row in range(first, last):
        for column in range(tile_columns):
            i, j = 2 * row - padding_top, 2 * column - padding_left
            target = after(v, ((row - first) * tile_columns + column) * channels)
            start = after(x, (i * width + j) * column_stride)
            if i >= 0 and j >= 0 and i + 4 <= height and j + 4 <= width:
                for c in range(0, channels, step):
                    input_tile(
                        after(target, c), v_stride, after(start, c), row_stride, column_stride
                    )
                continue
            for c in range(0, channels, step):
                input_tile_at_edge(
                    after(target, c), v_stride, after(start, c), row_stride, column_stride,
                    i, j, height, width, zeros,
                )  # fmt: skip


class TransformFilters(LaunchStruct):
    weight: Reals
    u: Reals
    turned: bool
    channels: int
    filters: int
    block_rows: int
    u_stride: int


@compiled
def transform_filters(block, launch: TransformFilters, scratch):  # type: ignore[no-untyped-def]
    """u, (16, C, F), of weight, (3, 3, C, F); where they are to be turned, (16, F, C).

    A block does ``block_rows`` rows of C or F.
    """
    weight, u, turned, block_rows = launch.weight, launch.u, launch.turned, launch.block_rows
    channels, filters, u_stride = launch.channels, launch.filters, launch.u_stride
    rows = filters if turned else channels
    columns = channels if turned else filters
    first, last = block * block_rows, min(rows, (block + 1) * block_rows)
    source, size = after(weight, first * columns), rows * columns
    if turned:
        source, size = at(scratch, 0), block_rows * columns
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
        filter_tile(target, u_stride, after(source, offset), 3 * size, size)


class Forward(LaunchStruct):
    """A block takes ``block_bands`` bands; v, m and u have 16 places, each so many numbers apart."""

    x: Reals
    u: Reals
    bias: Reals
    y: Reals
    winners: Bytes | None
    sizes: TileSizes
    relu: bool
    block_bands: int
    v_stride: int
    m_stride: int
    u_stride: int


@compiled
def forward(block, launch: Forward, scratch):  # type: ignore[no-untyped-def]
    """Bands of rows of tiles, a block takes some of one image: y, and with a pool its winners."""
    tile_rows, band_rows = launch.sizes.tile_rows, launch.sizes.band_rows
    bands, block_bands = -(-tile_rows // band_rows), launch.block_bands
    for number in range(block * block_bands, (block + 1) * block_bands):
        first = number % bands * band_rows
        _forward_band(launch, scratch, number // bands, first, min(first + band_rows, tile_rows))


@compiled
def _forward_band(launch: Forward, scratch, image, first, last):  # type: ignore[no-untyped-def]
    """The rows of tiles from ``first`` to ``last`` of one image."""
    sizes, u, bias, relu = launch.sizes, launch.u, launch.bias, launch.relu
    v_stride, m_stride, u_stride = launch.v_stride, launch.m_stride, launch.u_stride
    channels, filters = sizes.channels, sizes.filters
    output_height, output_width = sizes.output_height, sizes.output_width
    tile_columns, step = sizes.tile_columns, lanes_of(launch.x)
    tiles = (last - first) * tile_columns
    zeros = at(scratch, 0)
    clear_vector(zeros)
    v = after(zeros, step)
    m = after(v, PLACES * v_stride)
    outside = after(m, PLACES * m_stride)
    x = after(launch.x, image * sizes.height * sizes.width * channels)
    transform_band(sizes, v, v_stride, x, zeros, channels, first, last)
    for number in range(PLACES):
        multiply(
            after(m, number * m_stride), filters,
            after(v, number * v_stride), channels, 0, 1,
            after(u, number * u_stride), 0, filters,
            tiles, filters, 1, channels, 0,
        )  # fmt: skip
    y = after(launch.y, image * output_height * output_width * filters)
    winners = after(launch.winners, image * output_height * output_width * filters)
    pooled = launch.winners is not None
    for tile in range(tiles):
        row, column = first + tile // tile_columns, tile % tile_columns
        source = after(m, tile * filters)
        if pooled:
            offset = (row * output_width + column) * filters
            for f in range(0, filters, step):
                pooled_tile(
                    after(y, offset + f), after(winners, offset + f),
                    after(source, f), m_stride, after(bias, f), relu,
                )  # fmt: skip
            continue
        i, j = 2 * row, 2 * column
        whole = i + 2 <= output_height and j + 2 <= output_width
        target, line = after(y, (i * output_width + j) * filters), output_width * filters
        if not whole:
            target, line = outside, 2 * filters
        for f in range(0, filters, step):
            output_tile(
                after(target, f), line, filters, after(source, f), m_stride, after(bias, f), relu
            )
        if not whole:
            for a in range(min(2, output_height - i)):
                for b in range(min(2, output_width - j)):
                    for f in range(0, filters, step):
                        copy_vector(
                            after(y, ((i + a) * output_width + j + b) * filters + f),
                            after(outside, (2 * a + b) * filters + f),
                        )
