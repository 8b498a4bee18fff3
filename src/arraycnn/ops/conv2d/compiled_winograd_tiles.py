"""The transformations of Winograd's F(2x2, 3x3), each for a vector of channels of one tile.

The grids are lists of lists of vectors of 4x4, 3x3 or 2x2 places; see `compiled_winograd.py`.
"""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.vectors import Emitter, Vector, emitted
from arraycnn.ops.max_pool2d.compiled_windows import largest, let_through, to_winner

# Rows are results, columns what they are made of. B and A of the paper are the transposes.
_B_T = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_A_T = ((1, 1, 1, 0), (0, 1, -1, -1))
_B = tuple(zip(*_B_T, strict=True))
_A = tuple(zip(*_A_T, strict=True))
_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_G_T = tuple(zip(*_G, strict=True))


def _combined(weights: tuple[float, ...], vectors: list[Vector | None]) -> Vector | None:
    """The weighted sum of ``vectors``; None where it is nothing."""
    total: Vector | None = None
    for weight, vector in zip(weights, vectors, strict=True):
        if not weight or vector is None:
            continue
        emit = vector.emitter
        part = vector if abs(weight) == 1 else vector * emit.constant(abs(weight))
        if total is None:
            total = part if weight > 0 else emit.zero - part
        else:
            total = total + part if weight > 0 else total - part
    return total


def _sandwiched(matrix: Any, grid: list[list[Vector]]) -> list[list[Any]]:
    """matrix grid matrix'."""
    columns = [list(column) for column in zip(*grid, strict=True)]
    half = [[_combined(row, column) for column in columns] for row in matrix]
    return [[_combined(row, line) for row in matrix] for line in half]


def _places(emit: Emitter, start: Any, row: Any, column: Any, rows: int, columns: int) -> Any:
    """A grid of pointers; ``row`` and ``column`` are the steps from one to the next."""
    return [[_place(emit, start, i, row, j, column) for j in range(columns)] for i in range(rows)]


def _inside(
    emit: Emitter, grid: Any, i: Any, j: Any, height: Any, width: Any, other: Any
) -> list[list[Any]]:
    """A grid of pointers to pixels from (i, j) on; ``other`` in place of those not in the image."""
    builder = emit.builder

    def within(first: Any, count: Any) -> list[Any]:
        numbers = [builder.add(first, emit.integer(number)) for number in range(len(grid))]
        return [builder.icmp_unsigned("<", number, count) for number in numbers]  # no negative is

    rows, columns = within(i, height), within(j, width)
    return [
        [
            builder.select(builder.and_(in_row, in_column), pixel, other)
            for in_column, pixel in zip(columns, line, strict=True)
        ]
        for in_row, line in zip(rows, grid, strict=True)
    ]


def _loaded(emit: Emitter, start: Any, row: Any, column: Any, rows: int, columns: int) -> Any:
    """A grid of the vectors there."""
    return _at(emit, _places(emit, start, row, column, rows, columns))


def _at(emit: Emitter, places: list[list[Any]]) -> list[list[Vector]]:
    return [[emit.load(place) for place in line] for line in places]


def _stored(emit: Emitter, grid: Any, start: Any, row: Any, column: Any) -> None:
    for i, line in enumerate(grid):
        for j, vector in enumerate(line):
            emit.store(vector, _place(emit, start, i, row, j, column))


def _place(emit: Emitter, start: Any, i: int, row: Any, j: int, column: Any) -> Any:
    return emit.moved(start, emit.times(i, row), emit.times(j, column))


@emitted
def filter_tile(emit: Emitter, u: Any, place: Any, g: Any, row: Any, column: Any) -> None:
    """u = G g G'."""
    grid = _sandwiched(_G, _loaded(emit, g, row, column, 3, 3))
    _stored(emit, grid, u, emit.times(4, place), place)


@emitted
def filter_gradient_tile(
    emit: Emitter, dg: Any, row: Any, column: Any, du: Any, place: Any
) -> None:
    """dg = G' du G."""
    grid = _sandwiched(_G_T, _loaded(emit, du, emit.times(4, place), place, 4, 4))
    _stored(emit, grid, dg, row, column)


@emitted
def input_tile(emit: Emitter, v: Any, place: Any, x: Any, row: Any, column: Any) -> None:
    """v = B' d B for the patch d at ``x``, whose pixels are ``row`` and ``column`` apart."""
    grid = _sandwiched(_B_T, _loaded(emit, x, row, column, 4, 4))
    _stored(emit, grid, v, emit.times(4, place), place)


@emitted
def input_tile_at_edge(
    emit: Emitter, v: Any, place: Any, x: Any, row: Any, column: Any, i: Any, j: Any, height: Any,
    width: Any, zeros: Any,
) -> None:  # fmt: skip
    """The same for a patch whose first pixel is (i, j): ``zeros`` where the image has none."""
    patch = _places(emit, x, row, column, 4, 4)
    patch = _inside(emit, patch, i, j, height, width, zeros)
    _stored(emit, _sandwiched(_B_T, _at(emit, patch)), v, emit.times(4, place), place)


@emitted
def input_gradient_tile(emit: Emitter, dx: Any, row: Any, column: Any, dv: Any, place: Any) -> None:
    """dx += B dv B'."""
    _add_gradient(emit, _places(emit, dx, row, column, 4, 4), dv, place)


@emitted
def input_gradient_tile_at_edge(
    emit: Emitter, dx: Any, row: Any, column: Any, dv: Any, place: Any, i: Any, j: Any,
    height: Any, width: Any, waste: Any,
) -> None:  # fmt: skip
    """The same where the first pixel is (i, j); what is none of the image goes to ``waste``."""
    patch = _places(emit, dx, row, column, 4, 4)
    _add_gradient(emit, _inside(emit, patch, i, j, height, width, waste), dv, place)


def _add_gradient(emit: Emitter, patch: list[list[Any]], dv: Any, place: Any) -> None:
    added = _sandwiched(_B, _loaded(emit, dv, emit.times(4, place), place, 4, 4))
    before = _at(emit, patch)  # all of them, before ``waste`` is written to
    for pixels, ours, theirs in zip(patch, before, added, strict=True):
        for pixel, a, b in zip(pixels, ours, theirs, strict=True):
            emit.store(a + b, pixel)


def _outputs(emit: Emitter, m: Any, place: Any, bias: Any) -> Any:
    """A' m A + bias, 2x2."""
    grid = _sandwiched(_A_T, _loaded(emit, m, emit.times(4, place), place, 4, 4))
    added = emit.load(bias)
    return [[vector + added for vector in line] for line in grid]


@emitted
def output_tile(
    emit: Emitter, y: Any, row: Any, column: Any, m: Any, place: Any, bias: Any, relu: Any
) -> None:
    """A tile's 2x2 outputs, at ``y``; negative ones are zero where ``relu`` is not."""
    flag = emit.flag(relu)
    outputs = _outputs(emit, m, place, bias)
    _stored(emit, [[emit.clipped(o, flag) for o in line] for line in outputs], y, row, column)


@emitted
def pooled_tile(
    emit: Emitter, y: Any, winners: Any, m: Any, place: Any, bias: Any, relu: Any
) -> None:
    """The largest of a tile's outputs and its place: of equal ones the first, of any a NaN."""
    upper, lower = _outputs(emit, m, place, bias)
    best, winner = largest(emit, [*upper, *lower])
    emit.store(emit.clipped(best, emit.flag(relu)), y)
    emit.store_bytes(winner, winners)


@emitted
def gradient_tile(
    emit: Emitter,
    dm: Any,
    place: Any,
    dbias: Any,
    dy: Any,
    y: Any,
    row: Any,
    column: Any,
    relu: Any,
) -> None:
    """dm = A dy A' and dbias += the sum of dy, which passes a ReLU's output ``y`` before."""
    flag = emit.flag(relu)
    grid = [
        [
            let_through(
                emit, _place(emit, dy, i, row, j, column), _place(emit, y, i, row, j, column), flag
            )
            for j in range(2)
        ]
        for i in range(2)
    ]
    _note_gradient(emit, dm, place, dbias, grid)


@emitted
def pooled_gradient_tile(
    emit: Emitter, dm: Any, place: Any, dbias: Any, dy: Any, y: Any, winners: Any, relu: Any
) -> None:
    """The same where a pool follows, which gives dy to the winner of the tile alone."""
    gradient = let_through(emit, dy, y, emit.flag(relu))
    parts = to_winner(emit, gradient, winners)
    _note_gradient(emit, dm, place, dbias, [parts[:2], parts[2:]])


def _note_gradient(emit: Emitter, dm: Any, place: Any, dbias: Any, grid: Any) -> None:
    (a, b), (c, d) = grid
    emit.store(emit.load(dbias) + ((a + b) + (c + d)), dbias)
    _stored(emit, _sandwiched(_A, grid), dm, emit.times(4, place), place)
