"""The gradient for an image of few channels: of each output a patch, and patches added where they lie.

A vector of the channels of one pixel would have room for more. Of a patch, (KH, KW, C), the numbers of
a row lie next to each other, in the image as well: dy times the filters, as (F, KH, KW * C), gives all
patches of some outputs in whole vectors, which are then added to the image. The filters' gradient is
in `compiled_kernels.py` or, behind a pool, in `compiled_few_channels_pooled.py`.
"""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.pointers import after, carray, lanes_of
from arraycnn.ops.compiled.kernels.vectors import Emitter, emitted
from arraycnn.ops.compiled.launch_struct import LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.dense.compiled_products import multiply

NEAR = 4096
"""So many numbers of patches at a time stay in the nearest cache."""


@compiled
def row_of(numbers, x):  # type: ignore[no-untyped-def]
    """What the ``numbers`` of a patch's row take, in whole vectors."""
    return -(-numbers // lanes_of(x)) * lanes_of(x)


class FiltersInRows(LaunchStruct):
    """``weight``, (KH, KW, C, F), and the same as ``rows``, (F, KH, row) with KW * C = ``row_size``:

    either is made of the other.
    """

    weight: Reals
    rows: Reals
    kernel_height: int
    row_size: int
    filters: int


@compiled
def filters_in_rows(block, launch: FiltersInRows, scratch):  # type: ignore[no-untyped-def]
    """Rows from the weight: what a row has no numbers for are zeros."""
    kernel_height, row_size, filters = launch.kernel_height, launch.row_size, launch.filters
    row = row_of(row_size, launch.weight)
    weight = carray(launch.weight, (kernel_height, row_size, filters))
    rows = carray(launch.rows, (filters, kernel_height, row))
    for f in range(filters):
        for i in range(kernel_height):
            for n in range(row):
                if n < row_size:
                    rows[f, i, n] = weight[i, n, f]
                else:
                    rows[f, i, n] = 0.0


@compiled
def filters_from_rows(block, launch: FiltersInRows, scratch):  # type: ignore[no-untyped-def]
    """The weight from its rows."""
    kernel_height, row_size, filters = launch.kernel_height, launch.row_size, launch.filters
    weight = carray(launch.weight, (kernel_height, row_size, filters))
    rows = carray(launch.rows, (filters, kernel_height, row_of(row_size, launch.rows)))
    for i in range(kernel_height):
        for n in range(row_size):
            for f in range(filters):
                weight[i, n, f] = rows[f, i, n]


@emitted
def _add_patches(
    emit: Emitter, image: Any, line: Any, step: Any, patches: Any, count: Any, patch_rows: Any,
    row: Any, row_size: Any,
) -> None:  # fmt: skip
    """Add ``count`` patches next to each other; each begins ``step`` numbers after the one before.

    The rows of the image are ``line`` numbers apart. One that was just written is not read at once.
    What fills up a patch's row is zero times dy, which need not be zero: it is not added.
    """
    builder = emit.builder
    whole = builder.udiv(row_size, emit.integer(emit.lanes))
    done = emit.times(emit.lanes, whole)
    mask = emit.first_lanes(builder.sub(row_size, done))
    with emit.repeat(count) as j:
        target = emit.moved(image, builder.mul(j, step))
        source = emit.moved(patches, builder.mul(j, builder.mul(patch_rows, row)))
        with emit.repeat(patch_rows) as i:
            pixels = emit.moved(target, builder.mul(i, line))
            ours = emit.moved(source, builder.mul(i, row))
            with emit.repeat(whole) as vector:
                place = emit.times(emit.lanes, vector)
                added, pixel = emit.load(emit.moved(ours, place)), emit.moved(pixels, place)
                emit.store(emit.load(pixel) + added, pixel)
            with builder.if_then(emit.flag(builder.sub(row_size, done))):
                added, pixel = emit.load(emit.moved(ours, done), mask), emit.moved(pixels, done)
                emit.store(emit.load(pixel) + added, pixel)


@emitted
def _copy(emit: Emitter, target: Any, source: Any, count: Any) -> None:
    def work(emit: Emitter, place: Any) -> None:
        emit.store(emit.load(emit.moved(source, place)), emit.moved(target, place))

    emit.by_parts(count, work)


@compiled
def image_gradient_of_few(  # type: ignore[no-untyped-def]
    dx, dy, filter_rows, sizes, room, size, patches
):
    """dx of one image from its dy, (rows, columns, F).

    ``room`` is for ``size`` numbers: the image with its padding, and a row of a patch more;
    ``patches`` for `NEAR` numbers, or those of a row of outputs.
    """
    height, width, channels, filters = sizes.height, sizes.width, sizes.channels, sizes.filters
    rows, columns, kernel_height = sizes.output_height, sizes.output_width, sizes.kernel_height
    row_size, line = sizes.kernel_width * channels, sizes.padded_width * channels
    stride_height, stride_width = sizes.stride_height, sizes.stride_width
    padding_top, padding_left = sizes.padding_top, sizes.padding_left
    row = row_of(row_size, dx)
    patch = kernel_height * row
    framed = carray(room, size)
    framed[:] = 0.0
    together = max(1, min(rows, NEAR // (columns * patch)))
    for first in range(0, rows, together):
        count = min(together, rows - first)
        multiply(
            patches, patch,
            after(dy, first * columns * filters), filters, 0, 1,
            filter_rows, 0, patch,
            count * columns, patch, 1, filters, 0,
        )  # fmt: skip
        for i in range(count):
            _add_patches(
                after(room, (first + i) * stride_height * line), line, stride_width * channels,
                after(patches, i * columns * patch), columns, kernel_height, row, row_size,
            )  # fmt: skip
    for i in range(height):
        start = (padding_top + i) * line + padding_left * channels
        _copy(after(dx, i * width * channels), after(room, start), width * channels)
