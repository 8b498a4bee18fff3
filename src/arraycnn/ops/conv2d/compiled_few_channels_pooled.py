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


def _taking(rows: int, vectors: int) -> Any:
    """What adds the patches of filter ``f`` times their gradients: so many rows, vectors of each.

    Of the last vector of a row only ``width`` numbers are there.
    """

    def take(
        emit: Emitter, total: Any, row: Any, x: Any, line: Any, starts: Any, gradients: Any,
        filters: Any, f: Any, windows: Any, width: Any,
    ) -> None:  # fmt: skip
        builder = emit.builder
        masks = [None] * (vectors - 1) + [emit.first_lanes(width)]
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
                added = emit.multiply_add(gradient, pixels, emit.held(held))
                builder.store(added.value, held)
        for (*_, place), held in zip(places, sums, strict=True):
            emit.store(emit.held(held), place)

    return emitted(take)


_five_by_two = _taking(5, 2)
_five_by_one = _taking(5, 1)
_three_by_two = _taking(3, 2)
_three_by_one = _taking(3, 1)
_one_by_two = _taking(1, 2)
_one_by_one = _taking(1, 1)


@compiled
def _add_patches(total, kernel_height, row_size, x, line, starts, gradients, filters, windows):  # type: ignore[no-untyped-def]
    """To the gradient of each filter, (F, KH, row), what one image gives."""
    lanes, row = lanes_of(x), row_of(row_size, x)
    for f in range(filters):
        i = 0
        while i < kernel_height:
            left = kernel_height - i
            for n in range(0, row, 2 * lanes):
                ours, seen, numbers = (
                    after(total, (f * kernel_height + i) * row + n),
                    after(x, i * line + n),
                    row_size - n,
                )
                if numbers > lanes:
                    width = min(numbers - lanes, lanes)
                    if left >= 5:
                        _five_by_two(
                            ours, row, seen, line, starts, gradients, filters, f, windows, width
                        )
                    elif left >= 3:
                        _three_by_two(
                            ours, row, seen, line, starts, gradients, filters, f, windows, width
                        )
                    else:
                        _one_by_two(
                            ours, row, seen, line, starts, gradients, filters, f, windows, width
                        )
                elif left >= 5:
                    _five_by_one(
                        ours, row, seen, line, starts, gradients, filters, f, windows, numbers
                    )
                elif left >= 3:
                    _three_by_one(
                        ours, row, seen, line, starts, gradients, filters, f, windows, numbers
                    )
                else:
                    _one_by_one(
                        ours, row, seen, line, starts, gradients, filters, f, windows, numbers
                    )
            i += 5 if left >= 5 else 3 if left >= 3 else 1


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
        _add_patches(
            total, kernel_height, row_size, source, line, starts, gradients, filters, windows
        )
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
