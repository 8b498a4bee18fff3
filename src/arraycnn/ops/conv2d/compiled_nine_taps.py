"""3x3 windows of one channel: the nine weights of some filters, or their gradients, fill registers.

A matrix product of nine columns would spend its time on beginning and ending.
"""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.vectors import Emitter, Vector, emitted

_PIXELS = 4
"""Outputs at a time: with nine weights, as many sums as sixteen registers hold."""


@emitted
def nine_taps(
    emit: Emitter, y: Any, x: Any, line: Any, weight: Any, columns: Any, filters: Any
) -> None:
    """y[j, f] = the sum over the window's taps (a, b) of x[a * line + j + b] weight[a, b, f].

    ``columns`` outputs next to each other, of an image whose rows are ``line`` numbers apart.
    """

    def work(emit: Emitter, place: Any) -> None:
        builder = emit.builder
        weights = [
            emit.load(emit.moved(weight, emit.times(tap, filters), place)) for tap in range(9)
        ]

        def write(first: Any, count: int) -> None:
            sums = [emit.zero] * count
            for a in range(3):
                for pixel in range(count + 2):
                    offset = builder.add(first, emit.integer(pixel))
                    factor = emit.spread(emit.moved(x, emit.times(a, line), offset))
                    for output in range(max(0, pixel - 2), min(count, pixel + 1)):
                        tap = weights[3 * a + pixel - output]
                        sums[output] = emit.multiply_add(factor, tap, sums[output])
            for output, total in enumerate(sums):
                number = builder.mul(builder.add(first, emit.integer(output)), filters)
                emit.store(total, emit.moved(y, number, place))

        blocks = builder.udiv(columns, emit.integer(_PIXELS))
        with emit.repeat(blocks) as block:
            write(emit.times(_PIXELS, block), _PIXELS)
        done = emit.times(_PIXELS, blocks)
        with emit.repeat(builder.sub(columns, done)) as rest:
            write(builder.add(done, rest), 1)

    emit.by_parts(filters, work)


@emitted
def nine_tap_gradients(
    emit: Emitter, dweight: Any, x: Any, x_row: Any, line: Any, dy: Any, dy_row: Any, rows: Any,
    columns: Any, filters: Any,
) -> None:  # fmt: skip
    """dweight[a, b, f] += the sum over (i, j) of x[i * x_row + a * line + j + b] dy[i, j, f]."""

    def work(emit: Emitter, place: Any) -> None:
        builder = emit.builder
        targets = [emit.moved(dweight, emit.times(tap, filters), place) for tap in range(9)]
        totals = [emit.variable(emit.load(target).value) for target in targets]
        with emit.repeat(rows) as i:
            gradients = emit.moved(dy, builder.mul(i, dy_row), place)
            pixels = emit.moved(x, builder.mul(i, x_row))
            with emit.repeat(columns) as j:
                gradient = emit.load(emit.moved(gradients, builder.mul(j, filters)))
                for tap, total in enumerate(totals):
                    offset = builder.add(j, emit.integer(tap % 3))
                    pixel = emit.moved(pixels, emit.times(tap // 3, line), offset)
                    held = Vector(emit, builder.load(total))
                    sum_ = emit.multiply_add(emit.spread(pixel), gradient, held)
                    builder.store(sum_.value, total)
        for target, total in zip(targets, totals, strict=True):
            emit.store(Vector(emit, builder.load(total)), target)

    emit.by_parts(filters, work)
