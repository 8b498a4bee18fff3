"""The gradient of a convolution for its image: a convolution of dy for each phase of the stride.

A phase are the pixels that the same taps of the window reach: with a stride of 2 in both directions
there are four, and a window of 3x3 has 4, 2, 2 and 1 taps for them. dy lies in a frame of zeros, as
wide as the taps of a phase, and the filters are turned around, phase after phase. So nothing is
multiplied by a zero that stands between the numbers of dy.
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.pointers import after, carray
from arraycnn.ops.compiled.launch_struct import LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.dense.compiled_products import multiply


@compiled
def taps_of(size, stride, phase):  # type: ignore[no-untyped-def]
    """How many of a window's ``size`` taps are ``phase``, ``phase + stride``, ..."""
    return max(0, -(-(size - phase) // stride))


class TurnFilters(LaunchStruct):
    weight: Reals
    turned: Reals
    kernel_height: int
    kernel_width: int
    channels: int
    filters: int
    stride_height: int
    stride_width: int


@compiled
def turn_filters(block, launch: TurnFilters, scratch):  # type: ignore[no-untyped-def]
    """The taps of each phase from the last to the first, (F, C) each, phase after phase."""
    tall, wide, channels, filters = (
        launch.kernel_height,
        launch.kernel_width,
        launch.channels,
        launch.filters,
    )
    down, right = launch.stride_height, launch.stride_width
    weight = carray(launch.weight, (tall, wide, channels, filters))
    turned = carray(launch.turned, (tall * wide, filters, channels))
    place = 0
    for top in range(down):
        for left in range(right):
            rows, columns = taps_of(tall, down, top), taps_of(wide, right, left)
            for i in range(top + (rows - 1) * down, -1, -down):
                for j in range(left + (columns - 1) * right, -1, -right):
                    for f in range(filters):
                        for c in range(channels):
                            turned[place, f, c] = weight[i, j, c, f]
                    place += 1


@compiled
def image_gradient(  # type: ignore[no-untyped-def]
    dx, height, width, channels, framed, frame_rows, frame_columns, rows, columns, filters,
    turned, tall, wide, down, right, top, left,
):  # fmt: skip
    """dx of one image from its dy in a frame, phase after phase."""
    line = (columns + 2 * frame_columns) * filters
    unreached = down > tall or right > wide
    unreached = unreached or (rows - 1) * down + tall < height + top
    if unreached or (columns - 1) * right + wide < width + left:
        carray(dx, height * width * channels)[:] = 0.0
    for upper in range(down):
        taps = taps_of(tall, down, upper)
        for first in range(right):
            across = taps_of(wide, right, first)
            # Window number n has its last tap of this phase at n in the frame, if not cut off there.
            row, column = (upper - top) % down, (first - left) % right
            above, before = (row + top) // down, (column + left) // right
            count = min(-(-(width - column) // right), columns - 1 + across - before)
            for number in range(min(-(-(height - row) // down), rows - 1 + taps - above)):
                # Taps that reach rows of the frame only, above or below, would add zeros.
                reached = above + number - taps + 1
                skipped = max(0, -reached)
                runs = min(taps, rows - reached) - skipped
                window = (frame_rows + reached + skipped) * line
                multiply(
                    after(dx, ((row + number * down) * width + column) * channels),
                    right * channels,
                    after(framed, window + (frame_columns - across + 1 + before) * filters),
                    filters, line, 1,
                    after(turned, skipped * across * filters * channels),
                    across * filters * channels, channels,
                    count, channels, runs, across * filters, 0,
                )  # fmt: skip
            turned = after(turned, taps * across * filters * channels)
