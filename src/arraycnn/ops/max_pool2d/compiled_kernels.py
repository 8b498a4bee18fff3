"""The max-pool by itself, its gradient, and what an array holds at the winners: an image a block.

A convolution that a pool follows pools its own outputs by the same functions.
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.pointers import after, carray
from arraycnn.ops.compiled.launch_struct import Bytes, LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.max_pool2d.compiled_windows import (
    add_to_winners,
    pool_fours,
    pool_windows,
    take_fours,
    take_winners,
)


class PoolWindow(LaunchStruct):
    """The windows of a pool in one image, and how many there are."""

    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    output_height: int
    output_width: int


@compiled
def has_fours(window: PoolWindow):  # type: ignore[no-untyped-def]
    """Whether its windows are of 2x2 pixels that no other window has."""
    both = window.kernel_height == 2 and window.kernel_width == 2
    return both and window.stride_height == 2 and window.stride_width == 2


@compiled
def pool_image(window: PoolWindow, x, line, channels, image, y, winners):  # type: ignore[no-untyped-def]
    """The max-pool of the image at ``x``; y and winners are those of all images."""
    kernel_height, kernel_width = window.kernel_height, window.kernel_width
    stride_height, stride_width = window.stride_height, window.stride_width
    rows, columns = window.output_height, window.output_width
    for i in range(rows):
        target = (image * rows + i) * columns * channels
        largest, places = after(y, target), after(winners, target)
        source = after(x, i * stride_height * line)
        if has_fours(window):
            pool_fours(largest, places, source, line, columns, channels)
            continue
        pool_windows(
            largest, places, source, line, stride_width * channels, columns, channels,
            kernel_height, kernel_width,
        )  # fmt: skip


@compiled
def spread_gradient(window: PoolWindow, dy, winners, dx, line, apart, channels):  # type: ignore[no-untyped-def]
    """Add each number of one image's dy to its winner's place in ``dx``.

    Rows of dx are ``line`` numbers apart, pixels ``apart``.
    """
    kernel_height, kernel_width = window.kernel_height, window.kernel_width
    stride_height, stride_width = window.stride_height, window.stride_width
    rows, columns = window.output_height, window.output_width
    for i in range(rows):
        source, target = i * columns * channels, i * stride_height * line
        add_to_winners(
            after(dx, target), line, apart, stride_width * apart, after(dy, source),
            after(winners, source), columns, channels, kernel_height, kernel_width,
        )  # fmt: skip


class Pool(LaunchStruct):
    x: Reals
    y: Reals
    winners: Bytes
    height: int
    width: int
    channels: int
    window: PoolWindow


@compiled
def pool(block, launch: Pool, scratch):  # type: ignore[no-untyped-def]
    """A max-pool by itself, one image a block."""
    height, width, channels = launch.height, launch.width, launch.channels
    x = after(launch.x, block * height * width * channels)
    pool_image(
        launch.window, x, width * channels, channels, block, launch.y, launch.winners
    )  # fmt: skip


class PoolBackward(LaunchStruct):
    dy: Reals
    winners: Bytes
    dx: Reals
    height: int
    width: int
    channels: int
    window: PoolWindow


@compiled
def pool_backward(block, launch: PoolBackward, scratch):  # type: ignore[no-untyped-def]
    """Its dx, one image a block."""
    height, width, channels = launch.height, launch.width, launch.channels
    rows, columns = launch.window.output_height, launch.window.output_width
    size = rows * columns * channels
    dy, winners = after(launch.dy, block * size), after(launch.winners, block * size)
    dx = after(launch.dx, block * height * width * channels)
    carray(dx, height * width * channels)[:] = 0.0
    spread_gradient(launch.window, dy, winners, dx, width * channels, channels, channels)


class AtWinners(LaunchStruct):
    x: Reals
    winners: Bytes
    y: Reals
    height: int
    width: int
    channels: int
    window: PoolWindow


@compiled
def at_winners(block, launch: AtWinners, scratch):  # type: ignore[no-untyped-def]
    """What an array holds at the winners of a pool, one image a block."""
    height, width, channels, window = launch.height, launch.width, launch.channels, launch.window
    kernel_height, kernel_width = window.kernel_height, window.kernel_width
    stride_height, stride_width = window.stride_height, window.stride_width
    rows, columns = window.output_height, window.output_width
    line = width * channels
    x = after(launch.x, block * height * line)
    for i in range(rows):
        place = (block * rows + i) * columns * channels
        y, winners = after(launch.y, place), after(launch.winners, place)
        source = after(x, i * stride_height * line)
        if has_fours(window):
            take_fours(y, source, line, winners, columns, channels)
        else:
            take_winners(
                y, source, line, stride_width * channels, winners, columns, channels,
                kernel_height, kernel_width,
            )  # fmt: skip
