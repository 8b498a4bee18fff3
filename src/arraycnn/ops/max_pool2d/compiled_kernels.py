"""The max-pool by itself, its gradient, and what an array holds at the winners: an image a block.

A convolution that a pool follows pools its own outputs by the same functions.
"""

from __future__ import annotations

import numpy as np

from arraycnn.ops.compiled.kernels.pointers import after, carray, pointer, real
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.max_pool2d.compiled_windows import (
    add_to_winners,
    pool_fours,
    pool_windows,
    take_fours,
    take_winners,
)


@compiled
def has_fours(words, place):  # type: ignore[no-untyped-def]
    """Whether the pool in the words from ``place`` on is of 2x2 pixels that no other window has."""
    both = words[place] == 2 and words[place + 1] == 2
    return both and words[place + 2] == 2 and words[place + 3] == 2


@compiled
def pool_image(words, place, x, line, channels, image, y, winners):  # type: ignore[no-untyped-def]
    """The max-pool of the image at ``x``; its window is in six words from ``place`` on."""
    tall, wide, down, right = words[place], words[place + 1], words[place + 2], words[place + 3]
    rows, columns = words[place + 4], words[place + 5]
    won = pointer(winners, np.uint8)
    for i in range(rows):
        target = (image * rows + i) * columns * channels
        if has_fours(words, place):
            pool_fours(
                after(y, target),
                after(won, target),
                after(x, 2 * i * line),
                line,
                columns,
                channels,
            )
            continue
        pool_windows(
            after(y, target), after(won, target), after(x, i * down * line), line,
            right * channels, columns, channels, tall, wide,
        )  # fmt: skip


@compiled
def spread_gradient(words, place, dy, winners, dx, line, apart, channels):  # type: ignore[no-untyped-def]
    """Add each number of one image's dy to its winner's place in ``dx``.

    Rows of dx are ``line`` numbers apart, pixels ``apart``.
    """
    tall, wide, down, right = words[place], words[place + 1], words[place + 2], words[place + 3]
    rows, columns = words[place + 4], words[place + 5]
    for i in range(rows):
        source = i * columns * channels
        add_to_winners(
            after(dx, i * down * line), line, apart, right * apart, after(dy, source),
            after(winners, source), columns, channels, tall, wide,
        )  # fmt: skip


@compiled
def pool(block, words, scratch):  # type: ignore[no-untyped-def]
    """A max-pool by itself, one image a block."""
    height, width, channels = words[3], words[4], words[5]
    x = after(real(words, 0, scratch), block * height * width * channels)
    pool_image(words, 6, x, width * channels, channels, block, real(words, 1, scratch), words[2])


@compiled
def pool_backward(block, words, scratch):  # type: ignore[no-untyped-def]
    """Its dx, one image a block."""
    height, width, channels = words[3], words[4], words[5]
    rows, columns = words[10], words[11]
    size = rows * columns * channels
    dy = after(real(words, 0, scratch), block * size)
    winners = after(pointer(words[1], np.uint8), block * size)
    dx = after(real(words, 2, scratch), block * height * width * channels)
    carray(dx, height * width * channels)[:] = 0.0
    spread_gradient(words, 6, dy, winners, dx, width * channels, channels, channels)


@compiled
def at_winners(block, words, scratch):  # type: ignore[no-untyped-def]
    """What an array holds at the winners of a pool, one image a block."""
    height, width, channels = words[3], words[4], words[5]
    tall, wide, down, right = words[6], words[7], words[8], words[9]
    rows, columns = words[10], words[11]
    line = width * channels
    x = after(real(words, 0, scratch), block * height * line)
    for i in range(rows):
        place = (block * rows + i) * columns * channels
        y, won = after(real(words, 2, scratch), place), after(pointer(words[1], np.uint8), place)
        if has_fours(words, 6):
            take_fours(y, after(x, 2 * i * line), line, won, columns, channels)
        else:
            take_winners(
                y, after(x, i * down * line), line, right * channels, won, columns, channels,
                tall, wide,
            )  # fmt: skip
