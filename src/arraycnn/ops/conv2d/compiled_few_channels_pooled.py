"""Gradients of a convolution of few channels that a 2x2 max-pool follows: of the winners alone.

Of four outputs one has a gradient. The filters' is the sum of the patches of the image that the winners
have seen, times the gradient of each: for one filter after the other, while it stays in registers.
"""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.links import LoopOverImages, run_links
from arraycnn.ops.compiled.kernels.pointers import after, as_integers, at, carray, lanes_of
from arraycnn.ops.compiled.kernels.vectors import Emitter, emitted
from arraycnn.ops.compiled.launch_struct import Bytes, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_few_channels import image_gradient_of_few, row_of
from arraycnn.ops.conv2d.compiled_kernels import padded_image
from arraycnn.ops.conv2d.compiled_phases import Sizes
from arraycnn.ops.max_pool2d.compiled_kernels import PoolWindow
from arraycnn.ops.max_pool2d.compiled_windows import let_through, to_winner


@emitted
def _note_winners(
    emit: Emitter, starts: Any, gradients: Any, dy: Any, y: Any, winners: Any, relu: Any,
    firsts: Any, count: Any, down: Any, right: Any,
) -> None:  # fmt: skip
    """Where each of ``count`` winners has its patch, and its gradient.

    The patch of a window's first pixel begins at one of ``firsts``, those of the pixel below and of the
    one beside it ``down`` and ``right`` numbers later.
    """

    def work(emit: Emitter, place: Any) -> None:
        builder, same = emit.builder, emit.same_integers
        gradient = let_through(emit, emit.moved(dy, place), emit.moved(y, place), emit.flag(relu))
        emit.store(gradient, emit.moved(gradients, place))
        number = emit.as_integers(emit.load_bytes(emit.moved(winners, place)))
        of_rows = builder.mul(builder.lshr(number, same(emit.integer(1))), same(down))
        of_columns = builder.mul(builder.and_(number, same(emit.integer(1))), same(right))
        start = builder.add(emit.load_integers(firsts, place), builder.add(of_rows, of_columns))
        emit.store_integers(start, starts, place)

    emit.by_parts(count, work)


@emitted
def _add_up(emit: Emitter, totals: Any, gradients: Any, windows: Any, filters: Any) -> None:
    """The sum of each filter's gradients, added to ``totals``."""

    def work(emit: Emitter, place: Any) -> None:
        total = emit.variable(emit.load(emit.moved(totals, place)).value)
        with emit.repeat(windows) as window:
            there = emit.moved(gradients, emit.builder.mul(window, filters), place)
            emit.builder.store((emit.held(total) + emit.load(there)).value, total)
        emit.store(emit.held(total), emit.moved(totals, place))

    emit.by_parts(filters, work)


@emitted
def _spread(
    emit: Emitter, pixels: Any, row: Any, column: Any, gradients: Any, winners: Any, filters: Any
) -> None:
    """The gradients of a window written to its four pixels, zeros where another one has won."""

    def work(emit: Emitter, place: Any) -> None:
        gradient = emit.load(emit.moved(gradients, place))
        for number, part in enumerate(to_winner(emit, gradient, emit.moved(winners, place))):
            pixel = emit.times(number // 2, row), emit.times(number % 2, column)
            emit.store(part, emit.moved(pixels, *pixel, place))

    emit.by_parts(filters, work)


def _add_rows(
    emit: Emitter, rows: int, vectors: int, total: Any, row: Any, x: Any, line: Any, starts: Any,
    gradients: Any, filters: Any, f: Any, windows: Any, numbers: Any,
) -> None:  # fmt: skip
    """So many ``rows``, and ``vectors`` of each, of the patches of filter ``f`` times their gradients.

    Of a row at most ``numbers`` numbers are there.
    """
    builder = emit.builder
    left = builder.sub(numbers, emit.integer((vectors - 1) * emit.lanes))
    masks = [None] * (vectors - 1) + [emit.first_lanes(left)]
    columns = [(emit.integer(n * emit.lanes), mask) for n, mask in enumerate(masks)]
    places = [
        (i, column, mask, emit.moved(total, emit.times(i, row), column))
        for i in range(rows)
        for column, mask in columns
    ]
    sums = [emit.variable(emit.load(place).value) for *_, place in places]
    lines = [emit.times(i, line) for i in range(rows)]
    with emit.repeat(windows) as window:
        place = builder.add(builder.mul(window, filters), f)
        gradient = emit.spread(emit.moved(gradients, place))
        patch = emit.moved(x, emit.load_integer(starts, place))
        for (i, column, mask, _), held in zip(places, sums, strict=True):
            pixels = emit.load(emit.moved(patch, lines[i], column), mask)
            builder.store(emit.multiply_add(gradient, pixels, emit.held(held)).value, held)
    for (*_, place), held in zip(places, sums, strict=True):
        emit.store(emit.held(held), place)


_AT_ONCE = (5, 3, 1)
"""Rows whose sums, two vectors each, stay in registers: those of windows that are usual, or one."""


@emitted
def _add_two_vectors(
    emit: Emitter, total: Any, row: Any, x: Any, line: Any, starts: Any, gradients: Any,
    filters: Any, f: Any, windows: Any, numbers: Any, rows: Any,
) -> None:  # fmt: skip
    """`_add_rows` of the two vectors from ``x`` on, or of one where that holds all ``numbers``.

    ``rows`` is how many there are at once, of `_AT_ONCE`.
    """
    builder = emit.builder
    arguments = total, row, x, line, starts, gradients, filters, f, windows, numbers
    is_one = builder.icmp_signed("<=", numbers, emit.integer(emit.lanes))
    for count in _AT_ONCE:
        wanted = builder.icmp_signed("==", rows, emit.integer(count))
        with builder.if_then(wanted), builder.if_else(is_one) as (one, two):
            with one:
                _add_rows(emit, count, 1, *arguments)
            with two:
                _add_rows(emit, count, 2, *arguments)


@compiled
def _add_to_filters(total, sizes, x, line, starts, gradients, windows):  # type: ignore[no-untyped-def]
    """To the gradient of each filter, (F, KH, row), what one image gives."""
    filters, kernel_height = sizes.filters, sizes.kernel_height
    row_size, step = sizes.kernel_width * sizes.channels, 2 * lanes_of(x)
    row = row_of(row_size, x)
    for f in range(filters):
        i = 0
        while i < kernel_height:
            left = kernel_height - i
            rows = 5 if left >= 5 else 3 if left >= 3 else 1
            for n in range(0, row, step):
                _add_two_vectors(
                    after(total, (f * kernel_height + i) * row + n), row, after(x, i * line + n),
                    line, starts, gradients, filters, f, windows, row_size - n, rows,
                )  # fmt: skip
            i += rows


@compiled
def _note_windows(firsts, rows, columns, filters, down, right):  # type: ignore[no-untyped-def]
    """Where the patch of each window's first pixel begins, once for each filter."""
    place = 0
    for i in range(rows):
        for j in range(columns):
            for _ in range(filters):
                firsts[place] = 2 * (i * down + j * right)
                place += 1


class Backward(LoopOverImages):
    """As `compiled_kernels.Backward`; ``filter_rows`` and ``sums``, of each group, are (F, KH, row)."""

    x: Reals
    filter_rows: Reals | None
    dy: Reals
    y: Reals
    winners: Bytes
    dx: Reals | None
    sizes: Sizes
    relu: bool
    images: int
    groups: int
    sums: Reals
    dbiases: Reals
    pool: PoolWindow


@compiled
def backward(block, launch: Backward, scratch):  # type: ignore[no-untyped-def]
    """A group of images, one a block: their dx, and their part of the filters' gradients and dbias."""
    x, dy, y, dx, sizes = launch.x, launch.dy, launch.y, launch.dx, launch.sizes
    channels, filters, kernel_height = sizes.channels, sizes.filters, sizes.kernel_height
    columns, pool = sizes.output_width, launch.pool
    row_size, line = sizes.kernel_width * channels, sizes.padded_width * channels
    below, beside = sizes.stride_height * line, sizes.stride_width * channels
    row, windows = row_of(row_size, x), pool.output_height * pool.output_width
    size, outputs_size = windows * filters, sizes.output_height * columns * filters
    padded = row_of(sizes.padded_height * line + row, x)
    room = at(scratch, 0)
    outputs = after(room, padded)
    gradients = after(outputs, row_of(outputs_size, x))
    starts = after(gradients, row_of(size, x))
    firsts = after(starts, row_of(size, x))
    patches = after(firsts, row_of(size, x))
    total = after(launch.sums, block * filters * kernel_height * row)
    dbias = after(launch.dbiases, block * filters)
    carray(total, filters * kernel_height * row)[:] = 0.0
    carray(dbias, filters)[:] = 0.0
    _note_windows(
        carray(as_integers(firsts), size), pool.output_height, pool.output_width, filters, below,
        beside,
    )  # fmt: skip
    # Pixels that no window has are never written.
    carray(outputs, outputs_size)[:] = 0.0
    images, groups, image_size = launch.images, launch.groups, sizes.height * sizes.width * channels
    for image in range(block * images // groups, (block + 1) * images // groups):
        run_links(launch.before, image, scratch)
        won = after(launch.winners, image * size)
        _note_winners(
            starts, gradients, after(dy, image * size), after(y, image * size), won, launch.relu,
            firsts, size, below, beside,
        )  # fmt: skip
        _add_up(dbias, gradients, windows, filters)
        source = padded_image(sizes, x, image, room)
        _add_to_filters(total, sizes, source, line, starts, gradients, windows)
        if dx is not None:
            for i in range(pool.output_height):
                for j in range(pool.output_width):
                    window = (i * pool.output_width + j) * filters
                    _spread(
                        after(outputs, 2 * (i * columns + j) * filters), columns * filters, filters,
                        after(gradients, window), after(won, window), filters,
                    )  # fmt: skip
            image_gradient_of_few(
                after(dx, image * image_size), outputs, launch.filter_rows, sizes, room, padded,
                patches,
            )  # fmt: skip
        run_links(launch.after, image, scratch)
