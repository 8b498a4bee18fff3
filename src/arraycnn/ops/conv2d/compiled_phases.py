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


class Sizes(LaunchStruct):
    """Of one image, the window that moves over it, the image with its padding, and the output.

    ``has_few_channels`` and ``has_nine_taps`` are as `compiled_shapes.Convolution` has them.
    """

    height: int
    width: int
    channels: int
    filters: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    padding_top: int
    padding_left: int
    padded_height: int
    padded_width: int
    output_height: int
    output_width: int
    has_few_channels: bool
    has_nine_taps: bool


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
    kernel_height, kernel_width = launch.kernel_height, launch.kernel_width
    stride_height, stride_width = launch.stride_height, launch.stride_width
    channels, filters = launch.channels, launch.filters
    weight = carray(launch.weight, (kernel_height, kernel_width, channels, filters))
    turned = carray(launch.turned, (kernel_height * kernel_width, filters, channels))
    place = 0
    for top in range(stride_height):
        last_row = top + (taps_of(kernel_height, stride_height, top) - 1) * stride_height
        for left in range(stride_width):
            last_column = left + (taps_of(kernel_width, stride_width, left) - 1) * stride_width
            for i in range(last_row, -1, -stride_height):
                for j in range(last_column, -1, -stride_width):
                    for f in range(filters):
                        for c in range(channels):
                            turned[place, f, c] = weight[i, j, c, f]
                    place += 1


@compiled
def image_gradient(sizes: Sizes, dx, framed, frame_rows, frame_columns, turned):  # type: ignore[no-untyped-def]
    """dx of one image from its dy in a frame, phase after phase."""
    height, width, channels, filters = sizes.height, sizes.width, sizes.channels, sizes.filters
    kernel_height, kernel_width = sizes.kernel_height, sizes.kernel_width
    stride_height, stride_width = sizes.stride_height, sizes.stride_width
    output_height, output_width = sizes.output_height, sizes.output_width
    padding_top, padding_left = sizes.padding_top, sizes.padding_left
    line = (output_width + 2 * frame_columns) * filters
    reached_rows = (output_height - 1) * stride_height + kernel_height
    reached_columns = (output_width - 1) * stride_width + kernel_width
    unreached = stride_height > kernel_height or stride_width > kernel_width
    unreached = unreached or reached_rows < height + padding_top
    if unreached or reached_columns < width + padding_left:
        carray(dx, height * width * channels)[:] = 0.0
    for upper in range(stride_height):
        taps = taps_of(kernel_height, stride_height, upper)
        for first in range(stride_width):
            across = taps_of(kernel_width, stride_width, first)
            # Window number n has its last tap of this phase at n in the frame, if not cut off there.
            row, column = (
                (upper - padding_top) % stride_height,
                (first - padding_left) % stride_width,
            )
            above = (row + padding_top) // stride_height
            before = (column + padding_left) // stride_width
            count = min(-(-(width - column) // stride_width), output_width - 1 + across - before)
            rows = min(-(-(height - row) // stride_height), output_height - 1 + taps - above)
            for number in range(rows):
                # Taps that reach rows of the frame only, above or below, would add zeros.
                reached = above + number - taps + 1
                skipped = max(0, -reached)
                runs = min(taps, output_height - reached) - skipped
                window = (frame_rows + reached + skipped) * line
                multiply(
                    after(dx, ((row + number * stride_height) * width + column) * channels),
                    stride_width * channels,
                    after(framed, window + (frame_columns - across + 1 + before) * filters),
                    filters, line, 1,
                    after(turned, skipped * across * filters * channels),
                    across * filters * channels, channels,
                    count, channels, runs, across * filters, 0,
                )  # fmt: skip
            turned = after(turned, taps * across * filters * channels)
