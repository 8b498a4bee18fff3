"""Bias, ReLU and max-pools, vectors of channels at a time."""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.vectors import Emitter, Vector, emitted


def largest(emit: Emitter, values: list[Vector]) -> tuple[Vector, Vector]:
    """The largest of ``values`` and its number, a byte: of equal ones the first, of any a NaN."""
    best, *others = [(value, emit.byte(number)) for number, value in enumerate(values)]
    for other in others:
        best = _better(emit, other, best)
    return best


def _better(
    emit: Emitter, new: tuple[Vector, Vector], best: tuple[Vector, Vector]
) -> tuple[Vector, Vector]:
    """Of two numbers and their places: a NaN keeps the place of the number that it beats."""
    (value, place), (held, winner) = new, best
    larger = emit.larger(value, held)
    taken = emit.chosen(emit.either(larger, emit.is_nan(value)), value, held)
    return taken, emit.chosen(larger, place, winner)


def let_through(emit: Emitter, dy: Any, y: Any, relu: Any) -> Vector:
    """The gradient at ``dy``; zero where the output ``y`` of a ReLU before is."""
    gradient = emit.load(dy)
    passed = emit.chosen(emit.larger(emit.load(y), emit.zero), gradient, emit.zero)
    return Vector(emit, emit.builder.select(relu, passed.value, gradient.value))


def to_winner(emit: Emitter, gradient: Vector, winners: Any) -> list[Vector]:
    """``gradient`` for the pixel that won, zero for the other three."""
    winner = emit.load_bytes(winners)
    return [
        emit.chosen(emit.equal_bytes(winner, emit.byte(number)), gradient, emit.zero)
        for number in range(4)
    ]


@emitted
def bias_relu(emit: Emitter, y: Any, columns: Any, channels: Any, bias: Any, relu: Any) -> None:
    """Add a bias to the ``columns`` pixels from ``y`` on, and perhaps take max(that, 0)."""

    def work(emit: Emitter, place: Any) -> None:
        added = emit.load(emit.moved(bias, place))
        with emit.repeat(columns) as j:
            target = emit.moved(y, emit.builder.mul(j, channels), place)
            emit.store(emit.clipped(emit.load(target) + added, emit.flag(relu)), target)

    emit.by_parts(channels, work)


@emitted
def pass_gradients(
    emit: Emitter, target: Any, dbias: Any, dy: Any, y: Any, columns: Any, channels: Any, relu: Any
) -> None:
    """The gradient of `bias_relu`, written; that of the bias is added to ``dbias``."""

    def work(emit: Emitter, place: Any) -> None:
        flag, bias = emit.flag(relu), emit.moved(dbias, place)
        total = emit.variable(emit.load(bias).value)
        with emit.repeat(columns) as j:
            pixel = emit.builder.mul(j, channels), place
            gradient = let_through(emit, emit.moved(dy, *pixel), emit.moved(y, *pixel), flag)
            emit.store(gradient, emit.moved(target, *pixel))
            emit.builder.store((emit.held(total) + gradient).value, total)
        emit.store(emit.held(total), bias)

    emit.by_parts(channels, work)


@emitted
def pool_four(
    emit: Emitter, y: Any, winners: Any, x: Any, row: Any, column: Any, channels: Any, bias: Any,
    relu: Any,
) -> None:  # fmt: skip
    """y = the largest of the four pixels from ``x`` on, plus a bias, perhaps max(that, 0)."""

    def work(emit: Emitter, place: Any) -> None:
        added = emit.load(emit.moved(bias, place))
        values = [
            emit.load(emit.moved(x, emit.times(i, row), emit.times(j, column), place)) + added
            for i in range(2)
            for j in range(2)
        ]
        best, winner = largest(emit, values)
        emit.store(emit.clipped(best, emit.flag(relu)), emit.moved(y, place))
        emit.store_bytes(winner, emit.moved(winners, place))

    emit.by_parts(channels, work)


@emitted
def spread_four(
    emit: Emitter, dx: Any, row: Any, column: Any, channels: Any, dbias: Any, dy: Any, y: Any,
    winners: Any, relu: Any,
) -> None:  # fmt: skip
    """The gradient of `pool_four` for its pixels, written; that of the bias is added to ``dbias``."""

    def work(emit: Emitter, place: Any) -> None:
        gradient = let_through(emit, emit.moved(dy, place), emit.moved(y, place), emit.flag(relu))
        total = emit.moved(dbias, place)
        emit.store(emit.load(total) + gradient, total)
        for number, part in enumerate(to_winner(emit, gradient, emit.moved(winners, place))):
            pixel = emit.times(number // 2, row), emit.times(number % 2, column)
            emit.store(part, emit.moved(dx, *pixel, place))

    emit.by_parts(channels, work)


@emitted
def pool_windows(
    emit: Emitter, y: Any, winners: Any, x: Any, line: Any, step: Any, columns: Any, channels: Any,
    kernel_height: Any, kernel_width: Any,
) -> None:  # fmt: skip
    """The largest number of each of ``columns`` windows, and its place in the window.

    The first window begins at ``x``, each next one ``step`` numbers later; an image's rows are
    ``line`` numbers apart.
    """

    def work(emit: Emitter, place: Any) -> None:
        builder = emit.builder
        with emit.repeat(columns) as column:
            window = emit.moved(x, builder.mul(column, step), place)
            held = emit.variable(emit.load(window).value)
            winning = emit.variable(emit.byte(0).value)
            with emit.repeat(kernel_height) as i:
                row, number = emit.moved(window, builder.mul(i, line)), builder.mul(i, kernel_width)
                with emit.repeat(kernel_width) as j:
                    value = emit.load(emit.moved(row, builder.mul(j, channels)))
                    here = emit.same_bytes(builder.add(number, j))
                    best, winner = _better(
                        emit, (value, here), (emit.held(held), emit.held(winning))
                    )
                    builder.store(best.value, held)
                    builder.store(winner.value, winning)
            target = builder.mul(column, channels)
            emit.store(emit.held(held), emit.moved(y, target, place))
            emit.store_bytes(emit.held(winning), emit.moved(winners, target, place))

    emit.by_parts(channels, work)


@emitted
def add_to_winners(
    emit: Emitter, dx: Any, line: Any, apart: Any, step: Any, dy: Any, winners: Any, columns: Any,
    channels: Any, kernel_height: Any, kernel_width: Any,
) -> None:  # fmt: skip
    """The gradient of `pool_windows`, added to ``dx``, whose pixels are ``apart`` numbers apart."""

    def work(emit: Emitter, place: Any) -> None:
        builder = emit.builder
        with emit.repeat(columns) as column:
            window = emit.moved(dx, builder.mul(column, step), place)
            source = builder.mul(column, channels)
            gradient = emit.load(emit.moved(dy, source, place))
            winner = emit.load_bytes(emit.moved(winners, source, place))
            with emit.repeat(kernel_height) as i:
                row, number = emit.moved(window, builder.mul(i, line)), builder.mul(i, kernel_width)
                with emit.repeat(kernel_width) as j:
                    pixel = emit.moved(row, builder.mul(j, apart))
                    won = emit.equal_bytes(winner, emit.same_bytes(builder.add(number, j)))
                    part = emit.chosen(won, gradient, emit.zero)
                    emit.store(emit.load(pixel) + part, pixel)

    emit.by_parts(channels, work)


@emitted
def take_winners(
    emit: Emitter, y: Any, x: Any, line: Any, step: Any, winners: Any, columns: Any, channels: Any,
    kernel_height: Any, kernel_width: Any,
) -> None:  # fmt: skip
    """What the windows of `pool_windows` hold, in another array ``x``, at the winners."""

    def work(emit: Emitter, place: Any) -> None:
        builder = emit.builder
        with emit.repeat(columns) as column:
            window = emit.moved(x, builder.mul(column, step), place)
            target = builder.mul(column, channels)
            winner = emit.load_bytes(emit.moved(winners, target, place))
            held = emit.variable(emit.load(window).value)
            with emit.repeat(kernel_height) as i:
                row, number = emit.moved(window, builder.mul(i, line)), builder.mul(i, kernel_width)
                with emit.repeat(kernel_width) as j:
                    value = emit.load(emit.moved(row, builder.mul(j, channels)))
                    won = emit.equal_bytes(winner, emit.same_bytes(builder.add(number, j)))
                    builder.store(emit.chosen(won, value, emit.held(held)).value, held)
            emit.store(emit.held(held), emit.moved(y, target, place))

    emit.by_parts(channels, work)


def _four(emit: Emitter, x: Any, line: Any, column: Any, channels: Any, place: Any) -> list[Vector]:
    """The pixels of window number ``column`` of 2x2, one window beside the other."""
    pixels = [emit.builder.mul(emit.builder.add(column, column), channels)]
    pixels.append(emit.builder.add(pixels[0], channels))
    return [
        emit.load(emit.moved(x, emit.times(i, line), pixel, place))
        for i in range(2)
        for pixel in pixels
    ]


@emitted
def pool_fours(
    emit: Emitter, y: Any, winners: Any, x: Any, line: Any, columns: Any, channels: Any
) -> None:
    """`pool_windows` of 2x2 pixels that no other window has."""

    def work(emit: Emitter, place: Any) -> None:
        with emit.repeat(columns) as column:
            best, winner = largest(emit, _four(emit, x, line, column, channels, place))
            target = emit.builder.mul(column, channels)
            emit.store(best, emit.moved(y, target, place))
            emit.store_bytes(winner, emit.moved(winners, target, place))

    emit.by_parts(channels, work)


@emitted
def take_fours(
    emit: Emitter, y: Any, x: Any, line: Any, winners: Any, columns: Any, channels: Any
) -> None:
    """`take_winners` of such windows."""

    def work(emit: Emitter, place: Any) -> None:
        with emit.repeat(columns) as column:
            target = emit.builder.mul(column, channels)
            winner = emit.load_bytes(emit.moved(winners, target, place))
            found, *others = _four(emit, x, line, column, channels, place)
            for number, value in enumerate(others, start=1):
                won = emit.equal_bytes(winner, emit.byte(number))
                found = emit.chosen(won, value, found)
            emit.store(found, emit.moved(y, target, place))

    emit.by_parts(channels, work)
