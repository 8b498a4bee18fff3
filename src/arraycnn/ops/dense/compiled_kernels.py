"""The dense layer, forward and backward, and the sum of parts of a gradient."""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.pointers import after, at, carray, lanes_of, real
from arraycnn.ops.compiled.kernels.vectors import Emitter, Vector, emitted
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.dense.compiled_products import multiply

FEW_IMAGES = 4
"""Below this many rows a product is as slow as reading its matrix, which then is read in place."""


@compiled
def forward(block, words, scratch):  # type: ignore[no-untyped-def]
    """y = x weight + bias, perhaps max(that, 0): some rows and columns a block."""
    x, weight, bias = real(words, 0, scratch), real(words, 1, scratch), real(words, 2, scratch)
    y = real(words, 3, scratch)
    images, inputs, outputs, relu = words[4], words[5], words[6], words[7]
    tall, wide = words[8], words[9]
    across = -(-outputs // wide)
    row, column = block // across * tall, block % across * wide
    rows, columns = min(tall, images - row), min(wide, outputs - column)
    target = after(y, row * outputs + column)
    multiply(
        target, outputs, after(x, row * inputs), inputs, 0, 1,
        after(weight, column), 0, outputs, rows, columns, 1, inputs, 0,
    )  # fmt: skip
    biased = words[2] != 0
    if not biased and relu == 0:
        return
    added, zero = carray(after(bias, column), columns), scratch.dtype.type(0)
    for i in range(rows):
        numbers = carray(after(target, i * outputs), columns)
        for j in range(columns):
            value = numbers[j] + added[j] if biased else numbers[j]
            numbers[j] = zero if relu != 0 and value < zero else value


@compiled
def let_through(block, words, scratch):  # type: ignore[no-untyped-def]
    """dy, zero where a ReLU before gave zero, and its sum over the images, dbias."""
    images, outputs = words[4], words[5]
    dy = carray(real(words, 0, scratch), (images, outputs))
    dbias = carray(real(words, 3, scratch), outputs)
    dbias[:] = 0.0
    if words[1] == 0:
        for n in range(images):
            for j in range(outputs):
                dbias[j] += dy[n, j]
        return
    y = carray(real(words, 1, scratch), (images, outputs))
    passed, zero = carray(real(words, 2, scratch), (images, outputs)), scratch.dtype.type(0)
    for n in range(images):
        for j in range(outputs):
            gradient = dy[n, j] if y[n, j] > zero else zero
            passed[n, j] = gradient
            dbias[j] += gradient


@emitted
def _outer(
    emit: Emitter, target: Any, column: Any, row: Any, rows: Any, length: Any, whole: Any
) -> None:
    """target[i, j] = column[i] row[j] for ``length`` columns.

    Of the first ``whole`` rows whole vectors are stored; what they write beyond their row is written
    over by the rows that follow. After ``row``, too, there is room for whole vectors.
    """
    builder = emit.builder
    vectors = builder.udiv(
        builder.add(length, emit.integer(emit.lanes - 1)), emit.integer(emit.lanes)
    )
    with emit.repeat(whole) as i:
        factor = emit.spread(emit.moved(column, i))
        start = emit.moved(target, builder.mul(i, length))
        with emit.repeat(vectors) as vector:
            place = emit.times(emit.lanes, vector)
            emit.store(factor * emit.load(emit.moved(row, place)), emit.moved(start, place))
    with emit.repeat(builder.sub(rows, whole)) as rest:
        i = builder.add(whole, rest)
        factor = emit.spread(emit.moved(column, i))
        start = emit.moved(target, builder.mul(i, length))

        def work(place: Any, mask: Any) -> None:
            product = factor * emit.load(emit.moved(row, place))
            emit.store(product, emit.moved(start, place), mask)

        emit.along(length, work)


@emitted
def _times_column(
    emit: Emitter, target: Any, matrix: Any, column: Any, rows: Any, length: Any
) -> None:
    """target = matrix column: rows of ``length``, as many at a time as a vector has lanes.

    All products of a row are added up in one vector, and these to a number each at the end.
    """
    builder, lanes = emit.builder, emit.integer(emit.lanes)
    blocks = builder.udiv(builder.add(rows, emit.integer(emit.lanes - 1)), lanes)
    with emit.repeat(blocks) as block:
        first = builder.mul(block, lanes)
        left = builder.sub(rows, first)
        last = builder.sub(rows, emit.integer(1))
        starts, sums = [], []
        for lane in range(emit.lanes):
            row = emit.smaller(builder.add(first, emit.integer(lane)), last)
            starts.append(emit.moved(matrix, builder.mul(row, length)))
            sums.append(emit.variable(emit.zero.value))

        def work(place: Any, mask: Any) -> None:
            factor = emit.load(emit.moved(column, place), mask)
            for start, total in zip(starts, sums, strict=True):
                numbers = emit.load(emit.moved(start, place), mask)
                held = Vector(emit, builder.load(total))
                builder.store(emit.multiply_add(numbers, factor, held).value, total)

        emit.along(length, work)
        totals = emit.sums([Vector(emit, builder.load(total)) for total in sums])
        emit.store_first(totals, emit.moved(target, first), emit.smaller(left, lanes))


@compiled
def backward(block, words, scratch):  # type: ignore[no-untyped-def]
    """dweight and, where wanted, dx: of ``per`` inputs, one such part a block."""
    x, weight, dy = real(words, 0, scratch), real(words, 1, scratch), real(words, 2, scratch)
    dx, dweight = real(words, 3, scratch), real(words, 4, scratch)
    images, inputs, outputs, per = words[5], words[6], words[7], words[8]
    first = block * per
    count = min(per, inputs - first)
    if images == 1:
        lanes, padded = lanes_of(x), carray(at(scratch, 0), outputs)
        padded[:] = carray(dy, outputs)
        vectors = -(-outputs // lanes)
        whole = max(0, (count * outputs - vectors * lanes) // outputs + 1)
        target = after(dweight, first * outputs)
        _outer(target, after(x, first), at(scratch, 0), count, outputs, whole)
    else:
        source = carray(x, (images, inputs))
        # The part of x lies close while it is read again and again; so does that of the weights.
        part = carray(at(scratch, 0), (images, count))
        for n in range(images):
            for i in range(count):
                part[n, i] = source[n, first + i]
        multiply(
            after(dweight, first * outputs), outputs, at(scratch, 0), 1, 0, count,
            dy, 0, outputs, count, outputs, 1, images, 0,
        )  # fmt: skip
    if words[3] == 0:
        return
    own = after(weight, first * outputs)
    if images < FEW_IMAGES:
        for n in range(images):
            target, gradient = after(dx, n * inputs + first), after(dy, n * outputs)
            _times_column(target, own, gradient, count, outputs)
        return
    weights = carray(own, (count, outputs))
    room = after(at(scratch, 0), images * count)
    across = carray(room, (outputs, count))
    for i in range(count):
        for k in range(outputs):
            across[k, i] = weights[i, k]
    multiply(
        after(dx, first), inputs, dy, outputs, 0, 1,
        room, 0, count, images, count, 1, outputs, 0,
    )  # fmt: skip


@compiled
def add_parts(block, words, scratch):  # type: ignore[no-untyped-def]
    """total[i] = the sum of parts[k, i] in the order of k; ``per`` numbers a block."""
    count, size, per = words[2], words[3], words[4]
    parts = carray(real(words, 0, scratch), (count, size))
    first = block * per
    last = min(size, first + per)
    total = carray(real(words, 1, scratch), size)[first:last]
    total[:] = parts[0, first:last]
    for k in range(1, count):
        part = parts[k, first:last]
        for i in range(last - first):
            total[i] += part[i]
