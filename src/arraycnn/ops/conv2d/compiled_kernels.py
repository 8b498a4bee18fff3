"""Convolution of any window, and what may follow it: a ReLU, a max-pool.

The pixels of an output row are rows of a matrix product whose left operand is the image itself: no
columns are built. The gradient for the image is made of convolutions again (`compiled_phases.py`), of
dy in a frame of zeros, or of few channels of patches (`compiled_few_channels.py`).
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.links import LoopOverImages, run_links
from arraycnn.ops.compiled.kernels.pointers import after, at, carray
from arraycnn.ops.compiled.launch_struct import Bytes, LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_few_channels import image_gradient_of_few, row_of
from arraycnn.ops.conv2d.compiled_nine_taps import nine_tap_gradients, nine_taps
from arraycnn.ops.conv2d.compiled_phases import Sizes, image_gradient, taps_of
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


@compiled
def padded_image(sizes: Sizes, x, image, room):  # type: ignore[no-untyped-def]
    """An image with zeros around it, in ``room``; itself where it has none."""
    height, width, channels = sizes.height, sizes.width, sizes.channels
    padded_height, padded_width = sizes.padded_height, sizes.padded_width
    top, left = sizes.padding_top, sizes.padding_left
    start = after(x, image * height * width * channels)
    if padded_height != height or padded_width != width:
        carray(room, padded_height * padded_width * channels)[:] = 0.0
        source = carray(start, (height, width * channels))
        padded = carray(room, (padded_height, padded_width * channels))
        # A window need not reach the last pixels.
        for i in range(max(0, min(height, padded_height - top))):
            for n in range(max(0, min(width, padded_width - left)) * channels):
                padded[top + i, left * channels + n] = source[i, n]
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
    sizes, room, pooled = launch.sizes, at(scratch, 0), launch.winners is not None
    weight, bias, relu = launch.weight, launch.bias, launch.relu
    channels, filters, padded_width = sizes.channels, sizes.filters, sizes.padded_width
    output_height, output_width = sizes.output_height, sizes.output_width
    kernel_height, kernel_width = sizes.kernel_height, sizes.kernel_width
    stride_height, stride_width = sizes.stride_height, sizes.stride_width
    image = padded_image(sizes, launch.x, block, room)
    if pooled:
        outputs = after(room, sizes.padded_height * padded_width * channels)
    else:
        outputs = after(launch.y, block * output_height * output_width * filters)
    nine = sizes.has_nine_taps != 0
    for i in range(output_height):
        row = after(outputs, i * output_width * filters)
        source = after(image, i * stride_height * padded_width * channels)
        if nine:
            nine_taps(row, source, padded_width, weight, output_width, filters)
        else:
            multiply(
                row, filters, source, stride_width * channels, padded_width * channels, 1,
                weight, kernel_width * channels * filters, filters,
                output_width, filters, kernel_height, kernel_width * channels, 0,
            )  # fmt: skip
        if not pooled:
            bias_relu(row, output_width, filters, bias, relu)
    if pooled:
        _pool_outputs(launch, outputs, block)


@compiled
def _pool_outputs(launch: Forward, outputs, image):  # type: ignore[no-untyped-def]
    """Bias, ReLU and max-pool of one image."""
    sizes, window, y, winners = launch.sizes, launch.pool, launch.y, launch.winners
    output_height, output_width, filters = sizes.output_height, sizes.output_width, sizes.filters
    bias, relu = launch.bias, launch.relu
    if not has_fours(window):
        numbers = carray(outputs, (output_height, output_width, filters))
        added = carray(bias, filters)
        for i in range(output_height):
            for j in range(output_width):
                for f in range(filters):
                    numbers[i, j, f] += added[f]
        pool_image(window, outputs, output_width * filters, filters, image, y, winners)
        if relu != 0:
            size = window.output_height * window.output_width * filters
            results = carray(after(y, image * size), size)
            for n in range(size):
                if results[n] < 0:
                    results[n] = 0
        return
    for i in range(window.output_height):
        for j in range(window.output_width):
            place = ((image * window.output_height + i) * window.output_width + j) * filters
            source = after(outputs, (2 * i * output_width + 2 * j) * filters)
            pool_four(
                after(y, place), after(winners, place), source, output_width * filters, filters,
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
    dy, y, winners, sizes = launch.dy, launch.y, launch.winners, launch.sizes
    channels, filters = sizes.channels, sizes.filters
    kernel_height, kernel_width = sizes.kernel_height, sizes.kernel_width
    stride_height, stride_width = sizes.stride_height, sizes.stride_width
    output_height, output_width = sizes.output_height, sizes.output_width
    padded_height, padded_width = sizes.padded_height, sizes.padded_width
    images, groups, relu = launch.images, launch.groups, launch.relu
    x, dx, turned = launch.x, launch.dx, launch.turned
    taken = kernel_width * channels
    dweight = after(launch.dweights, block * kernel_height * taken * filters)
    bias_gradient = after(launch.dbiases, block * filters)
    dbias = carray(bias_gradient, filters)
    carray(dweight, kernel_height * taken * filters)[:] = 0.0
    dbias[:] = 0.0
    pooled = winners is not None
    need_dx = dx is not None
    # Where a gradient for the image is wanted, dy has a frame, unless channels are few.
    frame_rows, frame_columns = 0, 0
    few = sizes.has_few_channels != 0
    if need_dx and not few:
        frame_rows = taps_of(kernel_height, stride_height, 0) - 1
        frame_columns = taps_of(kernel_width, stride_width, 0) - 1
    framed_height = output_height + 2 * frame_rows
    framed_width = output_width + 2 * frame_columns
    room = at(scratch, 0)
    padded = row_of(padded_height * padded_width * channels + row_of(taken, x), x)
    framed = after(room, padded)
    start = after(framed, (frame_rows * framed_width + frame_columns) * filters)
    line = framed_width * filters
    everything = carray(framed, framed_height * line)
    dy_height, dy_width = output_height, output_width
    if pooled:
        dy_height, dy_width = launch.pool.output_height, launch.pool.output_width
    size, size_of_x = dy_height * dy_width * filters, sizes.height * sizes.width * channels
    passed = after(framed, framed_height * line)
    by_fours = pooled and has_fours(launch.pool)
    nine = sizes.has_nine_taps != 0
    together = output_height
    if output_height * output_width * filters + padded_height * padded_width * channels > _NEAR:
        together = max(1, _PIXELS // output_width)
    everything[:] = 0.0
    for image in range(block * images // groups, (block + 1) * images // groups):
        run_links(launch.before, image, scratch)
        if pooled and not by_fours:
            everything[:] = 0.0
        for i in range(dy_height):
            place = image * size + i * dy_width * filters
            if by_fours:
                for j in range(dy_width):
                    pixel = place + j * filters
                    spread_four(
                        after(start, 2 * i * line + 2 * j * filters), line, filters, filters,
                        bias_gradient, after(dy, pixel), after(y, pixel), after(winners, pixel),
                        relu,
                    )  # fmt: skip
                continue
            target = after(start, i * line)
            if pooled:
                target = after(passed, i * dy_width * filters)
            pass_gradients(
                target, bias_gradient, after(dy, place), after(y, place), dy_width, filters,
                relu,
            )  # fmt: skip
        if pooled and not by_fours:
            spread_gradient(
                launch.pool, passed, after(winners, image * size), start, line, filters, filters
            )
        source = padded_image(sizes, x, image, room)
        if nine:
            nine_tap_gradients(
                dweight, source, stride_height * padded_width, padded_width, start, line,
                output_height, output_width, filters,
            )  # fmt: skip
        for first in range(0, 0 if nine else output_height, together):
            for i in range(kernel_height):
                multiply(
                    after(dweight, i * taken * filters), filters,
                    after(source, (first * stride_height + i) * padded_width * channels),
                    1, stride_height * padded_width * channels, stride_width * channels,
                    after(start, first * line), line, filters,
                    taken, filters, min(together, output_height - first), output_width, 1,
                )  # fmt: skip
        if need_dx:
            target = after(dx, image * size_of_x)
            if few:
                patches = after(passed, output_height * output_width * filters)
                image_gradient_of_few(target, start, turned, sizes, room, padded, patches)
            else:
                image_gradient(sizes, target, framed, frame_rows, frame_columns, turned)
        run_links(launch.after, image, scratch)
