"""The dense layer, forward and backward, and the sum of parts of a gradient."""

from __future__ import annotations

from numba import carray, njit

from arraycnn.ops.compiled.kernels.products import multiply
from arraycnn.ops.compiled.kernels.vectors import after, at, real

FEW_IMAGES = 4
"""Below this many rows a product is as slow as reading its matrix, which then is read in place."""


@njit(error_model="numpy")
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


@njit(error_model="numpy")
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


@njit(fastmath={"contract", "reassoc"}, error_model="numpy")
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = a.dtype.type(0.0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@njit(error_model="numpy")
def backward(block, words, scratch):  # type: ignore[no-untyped-def]
    """dweight and, where wanted, dx: of ``per`` inputs, one such part a block."""
    x, weight, dy = real(words, 0, scratch), real(words, 1, scratch), real(words, 2, scratch)
    dx, dweight = real(words, 3, scratch), real(words, 4, scratch)
    images, inputs, outputs, per = words[5], words[6], words[7], words[8]
    first = block * per
    count = min(per, inputs - first)
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
    weights = carray(after(weight, first * outputs), (count, outputs))
    if images < FEW_IMAGES:
        for n in range(images):
            gradient = carray(after(dy, n * outputs), outputs)
            target = carray(after(dx, n * inputs + first), count)
            for i in range(count):
                target[i] = _dot(weights[i], gradient)
        return
    room = after(at(scratch, 0), images * count)
    across = carray(room, (outputs, count))
    for i in range(count):
        for k in range(outputs):
            across[k, i] = weights[i, k]
    multiply(
        after(dx, first), inputs, dy, outputs, 0, 1,
        room, 0, count, images, count, 1, outputs, 0,
    )  # fmt: skip


@njit(error_model="numpy")
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
