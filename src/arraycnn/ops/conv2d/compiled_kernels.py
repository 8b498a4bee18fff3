"""Convolution of any window, and what may follow it: a ReLU, a max-pool.

The pixels of an output row are rows of a matrix product whose left operand is the image itself: no
columns are built. The gradient for the image is made of convolutions again (`compiled_phases.py`), of
dy in a frame of zeros.
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.links import LoopOverImages, run_links
from arraycnn.ops.compiled.kernels.pointers import after, at, carray
from arraycnn.ops.compiled.launch_struct import Bytes, LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_few_channels import are_few, image_gradient_of_few, row_of
from arraycnn.ops.conv2d.compiled_nine_taps import nine_tap_gradients, nine_taps
from arraycnn.ops.conv2d.compiled_phases import image_gradient, taps_of
from arraycnn.ops.dense.compiled_products import multiply
from arraycnn.ops.max_pool2d.compiled_kernels import (
    PoolWindow,
    has_fours,
    pool_image,
    spread_gradient,
)
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


class Sizes(LaunchStruct):
    """Of one image, the window that moves over it, the image with its padding, and the output."""

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


@compiled
def _has_nine_taps(channels, tall, wide, right):  # type: ignore[no-untyped-def]
    """Whether an output's window is 3x3 numbers, and its neighbour's begins a number later."""
    return channels == 1 and tall == 3 and wide == 3 and right == 1


@compiled
def framed_image(x, image, height, width, channels, high, broad, top, left, room):  # type: ignore[no-untyped-def]
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


class Forward(LaunchStruct):
    """``winners`` and ``pool`` where a pool follows."""

    x: Reals
    weight: Reals
    bias: Reals
    y: Reals
    winners: Bytes | None
    sizes: Sizes
    relu: bool
    pool: PoolWindow


@compiled
def forward(block, launch: Forward, scratch):  # type: ignore[no-untyped-def]
    """One image a block: y, and with a pool its winners."""
    x, weight, bias, y, sizes = launch.x, launch.weight, launch.bias, launch.y, launch.sizes
    height, width, channels, filters = sizes.height, sizes.width, sizes.channels, sizes.filters
    tall, wide, down, right = (
        sizes.kernel_height,
        sizes.kernel_width,
        sizes.stride_height,
        sizes.stride_width,
    )
    top, left, high, broad = (
        sizes.padding_top,
        sizes.padding_left,
        sizes.padded_height,
        sizes.padded_width,
    )
    rows, columns, relu = sizes.output_height, sizes.output_width, launch.relu
    room = at(scratch, 0)
    image = framed_image(x, block, height, width, channels, high, broad, top, left, room)
    pooled = launch.winners is not None
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
        _pool_outputs(launch, outputs, rows, columns, filters, bias, relu, block, y)


@compiled
def _pool_outputs(launch: Forward, outputs, rows, columns, filters, bias, relu, image, y):  # type: ignore[no-untyped-def]
    """Bias, ReLU and max-pool of one image."""
    window = launch.pool
    if not has_fours(window):
        numbers = carray(outputs, (rows, columns, filters))
        added = carray(bias, filters)
        for i in range(rows):
            for j in range(columns):
                for f in range(filters):
                    numbers[i, j, f] += added[f]
        pool_image(window, outputs, columns * filters, filters, image, y, launch.winners)
        if relu != 0:
            size = window.output_height * window.output_width * filters
            results = carray(after(y, image * size), size)
            for n in range(size):
                if results[n] < 0:
                    results[n] = 0
        return
    winners = launch.winners
    for i in range(window.output_height):
        for j in range(window.output_width):
            place = ((image * window.output_height + i) * window.output_width + j) * filters
            source = after(outputs, (2 * i * columns + 2 * j) * filters)
            pool_four(
                after(y, place), after(winners, place), source, columns * filters, filters,
                filters, bias, relu,
            )  # fmt: skip


class Backward(LoopOverImages):
    """``dweights`` and ``dbiases`` are of each group; ``winners`` and ``pool`` where a pool follows."""

    x: Reals
    turned: Reals | None
    dy: Reals
    y: Reals
    winners: Bytes | None
    dx: Reals | None
    sizes: Sizes
    relu: bool
    images: int
    groups: int
    dweights: Reals
    dbiases: Reals
    pool: PoolWindow


@compiled
def backward(block, launch: Backward, scratch):  # type: ignore[no-untyped-def]
    """A group of images, one a block: their dx, and their part of dweight and dbias."""
    x, turned, dy, y, dx = launch.x, launch.turned, launch.dy, launch.y, launch.dx
    sizes = launch.sizes
    height, width, channels, filters = sizes.height, sizes.width, sizes.channels, sizes.filters
    tall, wide, down, right = (
        sizes.kernel_height,
        sizes.kernel_width,
        sizes.stride_height,
        sizes.stride_width,
    )
    top, left, high, broad = (
        sizes.padding_top,
        sizes.padding_left,
        sizes.padded_height,
        sizes.padded_width,
    )
    rows, columns, relu = sizes.output_height, sizes.output_width, launch.relu
    images, groups = launch.images, launch.groups
    taken = wide * channels
    dweight = after(launch.dweights, block * tall * taken * filters)
    bias_gradient = after(launch.dbiases, block * filters)
    dbias = carray(bias_gradient, filters)
    carray(dweight, tall * taken * filters)[:] = 0.0
    dbias[:] = 0.0
    pooled = launch.winners is not None
    need_dx = launch.dx is not None
    # Where a gradient for the image is wanted, dy has a frame.
    frame_rows, frame_columns = 0, 0
    few = are_few(channels, x)
    if need_dx and not few:
        frame_rows, frame_columns = taps_of(tall, down, 0) - 1, taps_of(wide, right, 0) - 1
    reach_rows, reach_columns = rows + 2 * frame_rows, columns + 2 * frame_columns
    room = at(scratch, 0)
    padded = row_of(high * broad * channels + row_of(taken, x), x)
    framed = after(room, padded)
    start = after(framed, (frame_rows * reach_columns + frame_columns) * filters)
    everything, line = carray(framed, reach_rows * reach_columns * filters), reach_columns * filters
    winners = launch.winners
    down_outputs, across_outputs = rows, columns
    if pooled:
        down_outputs, across_outputs = launch.pool.output_height, launch.pool.output_width
    size = down_outputs * across_outputs * filters
    passed = after(framed, reach_rows * line)
    by_fours = pooled and has_fours(launch.pool)
    nine = _has_nine_taps(channels, tall, wide, right)
    together = rows
    if rows * columns * filters + high * broad * channels > _NEAR:
        together = max(1, _PIXELS // columns)
    everything[:] = 0.0
    for image in range(block * images // groups, (block + 1) * images // groups):
        run_links(launch.before, image, scratch)
        if pooled and not by_fours:
            everything[:] = 0.0
        for i in range(down_outputs):
            place = image * size + i * across_outputs * filters
            if by_fours:
                for j in range(across_outputs):
                    spread_four(
                        after(start, 2 * i * line + 2 * j * filters), line, filters, filters,
                        bias_gradient, after(dy, place + j * filters),
                        after(y, place + j * filters), after(winners, place + j * filters), relu,
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
                launch.pool, passed, after(winners, image * size), start, line, filters, filters
            )
        source = framed_image(x, image, height, width, channels, high, broad, top, left, room)
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
            run_links(launch.after, image, scratch)
            continue
        target = after(dx, image * height * width * channels)
        if few:
            patches = after(passed, rows * columns * filters)
            image_gradient_of_few(target, start, turned, sizes, room, padded, patches)
        else:
            image_gradient(
                target, height, width, channels, framed, frame_rows, frame_columns, rows, columns,
                filters, turned, tall, wide, down, right, top, left,
            )  # fmt: skip
        run_links(launch.after, image, scratch)
