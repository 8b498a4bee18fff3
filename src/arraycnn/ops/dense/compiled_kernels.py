"""The dense layer, forward and backward, and the sum of parts of a gradient."""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.pointers import after, at, carray, lanes_of
from arraycnn.ops.compiled.kernels.vectors import Emitter, Vector, emitted
from arraycnn.ops.compiled.launch_struct import LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.dense.compiled_products import multiply

FEW_IMAGES = 4
"""Below this many rows a product is as slow as reading its matrix, which then is read in place."""


class Forward(LaunchStruct):
    """A block computes ``block_rows`` x ``block_columns`` of y, (images, outputs)."""

    x: Reals
    weight: Reals
    bias: Reals | None
    y: Reals
    images: int
    inputs: int
    outputs: int
    relu: bool
    block_rows: int
    block_columns: int


@compiled
def forward(block, launch: Forward, scratch):  # type: ignore[no-untyped-def]
    """y = x weight + bias, perhaps max(that, 0)."""
    x, weight, bias, y = launch.x, launch.weight, launch.bias, launch.y
    images, inputs, outputs, relu = launch.images, launch.inputs, launch.outputs, launch.relu
    block_rows, block_columns = launch.block_rows, launch.block_columns
    across = -(-outputs // block_columns)
    row, column = block // across * block_rows, block % across * block_columns
    rows, columns = min(block_rows, images - row), min(block_columns, outputs - column)
    target = after(y, row * outputs + column)
    multiply(
        target, outputs, after(x, row * inputs), inputs, 0, 1,
        after(weight, column), 0, outputs, rows, columns, 1, inputs, 0,
    )  # fmt: skip
    biased = launch.bias is not None
    if not biased and relu == 0:
        return
    added, zero = carray(after(bias, column), columns), scratch.dtype.type(0)
    for i in range(rows):
        numbers = carray(after(target, i * outputs), columns)
        for j in range(columns):
            value = numbers[j] + added[j] if biased else numbers[j]
            numbers[j] = zero if relu != 0 and value < zero else value


class LetThrough(LaunchStruct):
    """``y`` and ``passed`` where there is a ReLU."""

    dy: Reals
    y: Reals | None
    passed: Reals | None
    dbias: Reals
    images: int
    outputs: int


@compiled
def let_through(block, launch: LetThrough, scratch):  # type: ignore[no-untyped-def]
    """dy, zero where a ReLU before gave zero, and its sum over the images, dbias."""
    images, outputs = launch.images, launch.outputs
    dy = carray(launch.dy, (images, outputs))
    dbias = carray(launch.dbias, outputs)
    dbias[:] = 0.0
    if launch.y is None:
        for n in range(images):
            for j in range(outputs):
                dbias[j] += dy[n, j]
        return
    y = carray(launch.y, (images, outputs))
    passed, zero = carray(launch.passed, (images, outputs)), scratch.dtype.type(0)
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


class Backward(LaunchStruct):
    x: Reals
    weight: Reals
    dy: Reals
    dx: Reals | None
    dweight: Reals
    images: int
    inputs: int
    outputs: int
    block_inputs: int


@compiled
def backward(block, launch: Backward, scratch):  # type: ignore[no-untyped-def]
    """dweight and, where wanted, dx: of ``block_inputs`` inputs a block."""
    x, weight, dy = launch.x, launch.weight, launch.dy
    dx, dweight = launch.dx, launch.dweight
    images, inputs, outputs = launch.images, launch.inputs, launch.outputs
    block_inputs = launch.block_inputs
    first = block * block_inputs
    count = min(block_inputs, inputs - first)
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
    if launch.dx is None:
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


class AddParts(LaunchStruct):
    """``parts``, (count, size), are summed to ``total``, (size,)."""

    parts: Reals
    total: Reals
    count: int
    size: int
    block_size: int


@compiled
def add_parts(block, launch: AddParts, scratch):  # type: ignore[no-untyped-def]
    """total[i] = the sum of parts[k, i] in the order of k; ``block_size`` numbers a block."""
    count, size, block_size = launch.count, launch.size, launch.block_size
    parts = carray(launch.parts, (count, size))
    first = block * block_size
    last = min(size, first + block_size)
    total = carray(launch.total, size)[first:last]
    total[:] = parts[0, first:last]
    for k in range(1, count):
        part = parts[k, first:last]
        for i in range(last - first):
            total[i] += part[i]
