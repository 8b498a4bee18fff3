"""Matrix products for compiled kernels, on operands that need not lie as matrices."""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.pointers import after, lanes_of
from arraycnn.ops.compiled.kernels.vectors import REGISTERS, Emitter, emitted
from arraycnn.ops.compiled.translation.functions import linked

VECTORS = 4 if REGISTERS == 32 else 2
ROWS = 6
"""A tile of 6 rows by 2 (or 4) vectors leaves registers for a row of b and a number of a."""


def _tile(
    vectors: int, rows: int, masked: bool, half: bool = False, all_there: bool = False
) -> Any:
    """The product of a block of results that stays in registers; see `multiply`.

    ``last`` is the last row there is: the rows of the tile beyond compute others again. Where
    ``masked``, only ``width`` columns of the last vector are there. ``half``: of half the lanes.
    ``all_there``: ``last`` is not asked, so where rows begin is known before the first tile.
    """

    def tile(
        emit: Emitter, c: Any, c_row: Any, a: Any, a_row: Any, a_run: Any, a_step: Any,
        b: Any, b_run: Any, b_row: Any, runs: Any, length: Any, last: Any, width: Any, adding: Any,
    ) -> None:  # fmt: skip
        emit = emit.narrow(emit.lanes // 2) if half else emit
        builder = emit.builder
        mask = emit.first_lanes(width) if masked else None
        masks = [None] * (vectors - 1) + [mask]
        places = [emit.integer(vector * emit.lanes) for vector in range(vectors)]
        numbers = [emit.integer(row) for row in range(min(rows, ROWS))]
        if 1 < rows <= ROWS and not all_there:
            below = [builder.icmp_signed("<", number, last) for number in numbers]
            numbers = [builder.select(b, n, last) for b, n in zip(below, numbers, strict=True)]
        c_rows = [emit.moved(c, builder.mul(number, c_row)) for number in numbers]
        a_rows = [builder.mul(number, a_row) for number in numbers]
        firsts = [emit.integer(0)]
        if rows > ROWS:
            # The second half are the last rows there are, as far apart as those of the first: there
            # are registers for but a few offsets.
            second = emit.integer(ROWS)
            if not all_there:
                second = emit.smaller(second, builder.sub(last, emit.integer(ROWS - 1)))
            firsts.append(second)
            c_rows += [emit.moved(row, builder.mul(second, c_row)) for row in c_rows]
        sums = [[emit.variable(emit.zero.value) for _ in places] for _ in c_rows]
        with builder.if_then(builder.icmp_signed("!=", adding, emit.integer(0))):
            for target, row in zip(c_rows, sums, strict=True):
                for place, lanes, total in zip(places, masks, row, strict=True):
                    builder.store(emit.load(emit.moved(target, place), lanes).value, total)
        with emit.repeat(runs) as run:
            line = emit.variable(emit.moved(b, builder.mul(run, b_run)))
            start = emit.moved(a, builder.mul(run, a_run))
            starts = [emit.variable(emit.moved(start, builder.mul(row, a_row))) for row in firsts]
            with emit.repeat(length):
                here, theirs = builder.load(line), [builder.load(start) for start in starts]
                ours = [
                    emit.load(emit.moved(here, place), lanes)
                    for place, lanes in zip(places, masks, strict=True)
                ]
                factors = [(there, offset) for there in theirs for offset in a_rows]
                for (there, offset), row in zip(factors, sums, strict=True):
                    factor = emit.spread(emit.moved(there, offset))
                    for vector, total in zip(ours, row, strict=True):
                        held = type(vector)(emit, builder.load(total))
                        builder.store(emit.multiply_add(factor, vector, held).value, total)
                builder.store(emit.moved(here, b_row), line)
                for there, start in zip(theirs, starts, strict=True):
                    builder.store(emit.moved(there, a_step), start)
        for target, row in zip(c_rows, sums, strict=True):
            for place, lanes, total in zip(places, masks, row, strict=True):
                held = type(emit.zero)(emit, builder.load(total))
                if lanes is None:
                    emit.store(held, emit.moved(target, place))
                else:
                    emit.store_first(held, emit.moved(target, place), width)

    return emitted(tile)


_FEW = 4
"""Up to so many rows that are left take a smaller tile."""

_TALL = 2 * ROWS
"""Rows of a tile of one vector: of six sums each would wait for the last one of its own."""

_whole = _tile(VECTORS, ROWS, masked=False)
_all = _tile(VECTORS, ROWS, masked=False, all_there=True)
_few = _tile(VECTORS, _FEW, masked=False)
_two = _tile(2, ROWS, masked=True)
_one = _tile(1, ROWS, masked=False)
_half = _tile(1, ROWS, masked=False, half=True)
_part = _tile(1, ROWS, masked=True)
_tall = _tile(1, _TALL, masked=True)
_tall_all = _tile(1, _TALL, masked=False, all_there=True)
_row = _tile(4, 1, masked=False)
_row_two = _tile(2, 1, masked=True)
_row_part = _tile(1, 1, masked=True)

_DEPTH = 512
"""Rows of b at a time: as many columns of them as a tile has stay in the nearest cache."""


@linked(pointers=("c", "a", "b"), fixed=("a_row", "a_step"))
def _multiply_narrow(  # type: ignore[no-untyped-def]
    c, c_row, a, a_row, a_run, a_step, b, b_run, b_row, rows, columns, runs, length, adding
):
    """The tall tiles of `multiply` by at most one vector of columns; up to six rows may be left."""
    for i in range(0, rows - ROWS, _TALL):
        last = rows - 1 - i
        if columns == lanes_of(c) and last >= _TALL - 1:
            _tall_all(
                after(c, i * c_row), c_row, after(a, i * a_row), a_row, a_run, a_step,
                b, b_run, b_row, runs, length, 0, 0, adding,
            )  # fmt: skip
            continue
        _tall(
            after(c, i * c_row), c_row, after(a, i * a_row), a_row, a_run, a_step,
            b, b_run, b_row, runs, length, last, columns, adding,
        )  # fmt: skip


@linked(pointers=("c", "a", "b"), fixed=("a_row", "a_step"))
def multiply(  # type: ignore[no-untyped-def]
    c, c_row, a, a_row, a_run, a_step, b, b_run, b_row, rows, columns, runs, length, adding
):
    """c[i, j] = sum over r < runs and k < length of a[i, r, k] b[r, k, j], or adds it.

    Where the numbers of a's rows, or of its columns, lie next to each other, a call says so by a 1:
    code that knows it is up to a third faster.

    Parameters
    ----------
    c, a, b : pointers
        Element (i, j) of c lies at ``i * c_row + j``, (i, r, k) of a at ``i * a_row + r * a_run
        + k * a_step``, (r, k, j) of b at ``r * b_run + k * b_row + j``. So the pixels of an image
        are rows of a: a window is ``runs`` rows of the image, ``length`` numbers each.
    adding : int
        1 to add to c, 0 to overwrite it.
    """
    lanes = lanes_of(c)
    tile_columns, most = VECTORS * lanes, 4 * lanes
    done = 0
    if columns <= lanes and rows > ROWS and (runs > 1 or length <= _DEPTH):
        _multiply_narrow(
            c, c_row, a, a_row, a_run, a_step, b, b_run, b_row, rows, columns, runs, length, adding
        )
        done = min(rows, (rows + ROWS - 1) // _TALL * _TALL)
    for first in range(0, length, _DEPTH):
        deep = min(_DEPTH, length - first) if runs == 1 else length
        j = 0
        while j < columns:
            left = columns - j
            source = after(b, first * b_row + j)
            if rows == 1:
                target, there = after(c, j), after(a, first * a_step)
                if left >= most:
                    _row(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, 0, 0, adding,
                    )  # fmt: skip
                    j += most
                elif left > lanes:
                    _row_two(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, 0, min(left - lanes, lanes), adding,
                    )  # fmt: skip
                    j += min(left, 2 * lanes)
                else:
                    _row_part(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, 0, left, adding,
                    )  # fmt: skip
                    j += left
                continue
            for i in range(done, rows, ROWS):
                target = after(c, i * c_row + j)
                there = after(a, i * a_row + first * a_step)
                last = rows - 1 - i
                if left >= tile_columns and last < _FEW:
                    _few(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, last, 0, adding,
                    )  # fmt: skip
                elif left >= tile_columns and last >= ROWS - 1:
                    _all(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, 0, 0, adding,
                    )  # fmt: skip
                elif left >= tile_columns:
                    _whole(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, last, 0, adding,
                    )  # fmt: skip
                elif left > lanes:
                    _two(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, last, min(left - lanes, lanes), adding,
                    )  # fmt: skip
                elif left == lanes:
                    _one(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, last, 0, adding,
                    )  # fmt: skip
                elif left == lanes // 2:
                    _half(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, last, 0, adding,
                    )  # fmt: skip
                else:
                    _part(
                        target, c_row, there, a_row, a_run, a_step,
                        source, b_run, b_row, runs, deep, last, left, adding,
                    )  # fmt: skip
            j += tile_columns if left >= tile_columns else min(left, 2 * lanes)
        if runs > 1:
            return
        adding = 1
