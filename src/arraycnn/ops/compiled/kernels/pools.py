"""Max-pools of 2x2 pixels, a vector of channels at a time: what convolutions do with their outputs."""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.vectors import Emitter, Vector, emitted


def largest(emit: Emitter, values: list[Vector]) -> tuple[Vector, Vector]:
    """The largest of ``values`` and its number, a byte: of equal ones the first, of any a NaN."""
    best, *others = values
    winner = emit.byte(0)
    for number, value in enumerate(others, start=1):
        larger = emit.larger(value, best)
        winner = emit.chosen(larger, emit.byte(number), winner)
        best = emit.chosen(emit.either(larger, emit.is_nan(value)), value, best)
    return best, winner


def let_through(emit: Emitter, dy: Any, y: Any, relu: Any) -> Vector:
    """The gradient at ``dy``; zero where the output ``y`` of a ReLU before is."""
    gradient = emit.load(dy)
    passed = emit.chosen(emit.larger(emit.load(y), emit.zero), gradient, emit.zero)
    return Vector(emit, emit.builder.select(relu, passed.value, gradient.value))


def to_winner(emit: Emitter, gradient: Vector, winners: Any) -> list[Vector]:
    """``gradient`` for the pixel that won, zero for the other three."""
    winner = emit.load_bytes(winners)
    return [
        emit.chosen(emit.equal_bytes(winner, number), gradient, emit.zero) for number in range(4)
    ]


@emitted
def pool_four(
    emit: Emitter, y: Any, winners: Any, x: Any, row: Any, column: Any, bias: Any, relu: Any
) -> None:
    """y = the largest of the four pixels from ``x`` on, plus a bias, perhaps max(that, 0)."""
    added = emit.load(bias)
    values = [
        emit.load(emit.moved(x, emit.times(i, row), emit.times(j, column))) + added
        for i in range(2)
        for j in range(2)
    ]
    best, winner = largest(emit, values)
    emit.store(emit.clipped(best, emit.flag(relu)), y)
    emit.store_bytes(winner, winners)


@emitted
def spread_four(
    emit: Emitter, dx: Any, row: Any, column: Any, dbias: Any, dy: Any, y: Any, winners: Any,
    relu: Any,
) -> None:  # fmt: skip
    """The gradient of `pool_four` for its pixels, written; that of the bias is added to ``dbias``."""
    gradient = let_through(emit, dy, y, emit.flag(relu))
    emit.store(emit.load(dbias) + gradient, dbias)
    for number, part in enumerate(to_winner(emit, gradient, winners)):
        target = emit.moved(dx, emit.times(number // 2, row), emit.times(number % 2, column))
        emit.store(part, target)
