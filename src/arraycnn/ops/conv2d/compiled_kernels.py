"""Convolution of any window, and what may follow it: a ReLU, a max-pool.

The pixels of an output row are rows of a matrix product whose left operand is the image itself: no
columns are built. The gradient for the image is made of convolutions again (`compiled_phases.py`), of
dy in a frame of zeros.
"""

from __future__ import annotations

import numpy as np

from arraycnn.ops.compiled.kernels.links import AFTER, BEFORE, run_links
from arraycnn.ops.compiled.kernels.pointers import after, at, carray, pointer, real
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_nine_taps import nine_tap_gradients, nine_taps
from arraycnn.ops.conv2d.compiled_phases import image_gradient, taps_of
from arraycnn.ops.dense.compiled_products import multiply
from arraycnn.ops.max_pool2d.compiled_kernels import has_fours, pool_image, spread_gradient
from arraycnn.ops.max_pool2d.compiled_windows import (
    bias_relu,
    pass_gradients,
    pool_four,
    spread_four,
)

_NEAR = 6144
"""So many numbers of an image and its dy stay in the nearest cache together."""

_PIXELS = 96
"""Where they do not, so many pixels of dy at a time are summed into the gradient of the filters."""


@compiled
def _has_nine_taps(channels, tall, wide, right):  # type: ignore[no-untyped-def]
    """Whether an output's window is 3x3 numbers, and its neighbour's begins a number later."""
    return channels == 1 and tall == 3 and wide == 3 and right == 1


@compiled
def _framed(x, image, height, width, channels, high, broad, top, left, room):  # type: ignore[no-untyped-def]
    """An image with zeros around it, (high, broad, C), in ``room``; itself where it has none."""
    start = after(x, image * height * width * channels)
    if high != height or broad != width:
        carray(room, high * broad * channels)[:] = 0.0
        source = carray(start, (height, width * channels))
        framed = carray(room, (high, broad * channels))
        # A window need not reach the last pixels.
        for i in range(max(0, min(height, high - top))):
            for n in range(max(0, min(width, broad - left)) * channels):
                framed[top + i, left * channels + n] = source[i, n]
        start = room
    return start


@compiled
def forward(block, words, scratch):  # type: ignore[no-untyped-def]
    """One image a block: y, and with a pool its winners."""
    x, weight, bias = real(words, 0, scratch), real(words, 1, scratch), real(words, 2, scratch)
    y = real(words, 3, scratch)
    height, width, channels, filters = words[5], words[6], words[7], words[8]
    tall, wide, down, right = words[9], words[10], words[11], words[12]
    top, left, high, broad = words[13], words[14], words[15], words[16]
    rows, columns, relu = words[17], words[18], words[19]
    room = at(scratch, 0)
    image = _framed(x, block, height, width, channels, high, broad, top, left, room)
    pooled = words[4] != 0
    if pooled:
        outputs = after(room, high * broad * channels)
    else:
        outputs = after(y, block * rows * columns * filters)
    nine = _has_nine_taps(channels, tall, wide, right)
    for i in range(rows):
        row = after(outputs, i * columns * filters)
        if nine:
            nine_taps(row, after(image, i * down * broad), broad, weight, columns, filters)
        else:
            multiply(
                row, filters,
                after(image, i * down * broad * channels), right * channels, broad * channels, 1,
                weight, wide * channels * filters, filters,
                columns, filters, tall, wide * channels, 0,
            )  # fmt: skip
        if not pooled:
            bias_relu(row, columns, filters, bias, relu)
    if pooled:
        _pool_outputs(words, outputs, rows, columns, filters, bias, relu, block, y)


@compiled
def _pool_outputs(words, outputs, rows, columns, filters, bias, relu, image, y):  # type: ignore[no-untyped-def]
    """Bias, ReLU and max-pool of one image."""
    if not has_fours(words, 20):
        numbers = carray(outputs, (rows, columns, filters))
        added = carray(bias, filters)
        for i in range(rows):
            for j in range(columns):
                for f in range(filters):
                    numbers[i, j, f] += added[f]
        pool_image(words, 20, outputs, columns * filters, filters, image, y, words[4])
        if relu != 0:
            size = words[24] * words[25] * filters
            results = carray(after(y, image * size), size)
            for n in range(size):
                if results[n] < 0:
                    results[n] = 0
        return
    winners = pointer(words[4], np.uint8)
    for i in range(words[24]):
        for j in range(words[25]):
            place = ((image * words[24] + i) * words[25] + j) * filters
            source = after(outputs, (2 * i * columns + 2 * j) * filters)
            pool_four(
                after(y, place), after(winners, place), source, columns * filters, filters,
                filters, bias, relu,
            )  # fmt: skip


@compiled
def backward(block, words, scratch):  # type: ignore[no-untyped-def]
    """A group of images, one a block: their dx, and their part of dweight and dbias."""
    x, turned, dy = real(words, 0, scratch), real(words, 1, scratch), real(words, 2, scratch)
    y, dx = real(words, 3, scratch), real(words, 5, scratch)
    height, width, channels, filters = words[6], words[7], words[8], words[9]
    tall, wide, down, right = words[10], words[11], words[12], words[13]
    top, left, high, broad = words[14], words[15], words[16], words[17]
    rows, columns, relu = words[18], words[19], words[20]
    images, groups = words[21], words[22]
    taken = wide * channels
    dweight = after(real(words, 23, scratch), block * tall * taken * filters)
    bias_gradient = after(real(words, 24, scratch), block * filters)
    dbias = carray(bias_gradient, filters)
    carray(dweight, tall * taken * filters)[:] = 0.0
    dbias[:] = 0.0
    pooled = words[4] != 0
    need_dx = words[5] != 0
    # Where a gradient for the image is wanted, dy has a frame.
    frame_rows, frame_columns = 0, 0
    if need_dx:
        frame_rows, frame_columns = taps_of(tall, down, 0) - 1, taps_of(wide, right, 0) - 1
    reach_rows, reach_columns = rows + 2 * frame_rows, columns + 2 * frame_columns
    room = at(scratch, 0)
    framed = after(room, high * broad * channels)
    start = after(framed, (frame_rows * reach_columns + frame_columns) * filters)
    everything, line = carray(framed, reach_rows * reach_columns * filters), reach_columns * filters
    wins = pointer(words[4], np.uint8)
    down_outputs, across_outputs = rows, columns
    if pooled:
        down_outputs, across_outputs = words[29], words[30]
    size = down_outputs * across_outputs * filters
    passed = after(framed, reach_rows * line)
    by_fours = pooled and has_fours(words, 25)
    nine = _has_nine_taps(channels, tall, wide, right)
    together = rows
    if rows * columns * filters + high * broad * channels > _NEAR:
        together = max(1, _PIXELS // columns)
    everything[:] = 0.0
    for image in range(block * images // groups, (block + 1) * images // groups):
        run_links(words, BEFORE, image, scratch)
        if pooled and not by_fours:
            everything[:] = 0.0
        for i in range(down_outputs):
            place = image * size + i * across_outputs * filters
            if by_fours:
                for j in range(across_outputs):
                    spread_four(
                        after(start, 2 * i * line + 2 * j * filters), line, filters, filters,
                        bias_gradient, after(dy, place + j * filters),
                        after(y, place + j * filters), after(wins, place + j * filters), relu,
                    )  # fmt: skip
                continue
            target = after(start, i * line)
            if pooled:
                target = after(passed, i * across_outputs * filters)
            pass_gradients(
                target, bias_gradient, after(dy, place), after(y, place), across_outputs, filters,
                relu,
            )  # fmt: skip
        if pooled and not by_fours:
            spread_gradient(
                words, 25, passed, after(wins, image * size), start, line, filters, filters
            )
        source = _framed(x, image, height, width, channels, high, broad, top, left, room)
        if nine:
            nine_tap_gradients(
                dweight, source, down * broad, broad, start, line, rows, columns, filters
            )  # fmt: skip
        for first in range(0, 0 if nine else rows, together):
            for i in range(tall):
                multiply(
                    after(dweight, i * taken * filters), filters,
                    after(source, (first * down + i) * broad * channels),
                    1, down * broad * channels, right * channels,
                    after(start, first * line), line, filters,
                    taken, filters, min(together, rows - first), columns, 1,
                )  # fmt: skip
        if not need_dx:
            run_links(words, AFTER, image, scratch)
            continue
        image_gradient(
            after(dx, image * height * width * channels), height, width, channels, framed,
            frame_rows, frame_columns, rows, columns, filters, turned, tall, wide, down, right,
            top, left,
        )  # fmt: skip
        run_links(words, AFTER, image, scratch)
