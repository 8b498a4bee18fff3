"""Convolution of small images by many filters: the rows of its products are the images of the batch.

An image of 2x2 pixels has four outputs, too few to pay for reading filters that leave a core's caches.
So for each tap and each output that the tap reaches, the same pixel of all images is multiplied by the
tap's filters, which are read once. No columns are built, and nothing is multiplied by padding.
"""

from __future__ import annotations

from arraycnn.ops.compiled.kernels.pointers import after, at, carray
from arraycnn.ops.compiled.launch_struct import LaunchStruct, Reals
from arraycnn.ops.compiled.translation.functions import compiled
from arraycnn.ops.conv2d.compiled_phases import Sizes
from arraycnn.ops.dense.compiled_products import multiply


@compiled
def first_reached(tap, stride, padding):  # type: ignore[no-untyped-def]
    """The first output along an axis whose ``tap`` is a pixel."""
    return max(0, -(-(padding - tap) // stride))


@compiled
def reached_end(tap, stride, padding, size, outputs):  # type: ignore[no-untyped-def]
    """The output along an axis after the last whose ``tap`` is one of ``size`` pixels."""
    return max(0, min(outputs, (size - 1 + padding - tap) // stride + 1))


class Forward(LaunchStruct):
    """A block computes ``block_filters`` of the filters of ``block_images`` images."""

    x: Reals
    weight: Reals
    bias: Reals
    y: Reals
    sizes: Sizes
    relu: bool
    images: int
    block_filters: int
    block_images: int


@compiled
def forward(block, launch: Forward, scratch):  # type: ignore[no-untyped-def]
    """y of some filters, tap after tap."""
    sizes, step = launch.sizes, launch.block_filters
    channels, filters = sizes.channels, sizes.filters
    height, width = sizes.height, sizes.width
    output_height, output_width = sizes.output_height, sizes.output_width
    top, left = sizes.padding_top, sizes.padding_left
    down, right = sizes.stride_height, sizes.stride_width
    outputs = output_height * output_width
    panels = -(-filters // step)
    first, before = block % panels * step, block // panels * launch.block_images
    count, images = min(step, filters - first), min(launch.block_images, launch.images - before)
    x = after(launch.x, before * height * width * channels)
    y, room = after(launch.y, before * outputs * filters + first), at(scratch, 0)
    bias = carray(after(launch.bias, first), count)
    for n in range(images * outputs):
        numbers = carray(after(y, n * filters), count)
        for f in range(count):
            numbers[f] = bias[f]
    for i in range(sizes.kernel_height):
        row, rows_end = (
            first_reached(i, down, top),
            reached_end(i, down, top, height, output_height),
        )
        for j in range(sizes.kernel_width):
            column = first_reached(j, right, left)
            columns_end = reached_end(j, right, left, width, output_width)
            if row >= rows_end or column >= columns_end:
                continue
            tap = after(launch.weight, (i * sizes.kernel_width + j) * channels * filters + first)
            near = carray(room, (channels, count))
            for c in range(channels):
                theirs = carray(after(tap, c * filters), count)
                for f in range(count):
                    near[c, f] = theirs[f]
            for a in range(row, rows_end):
                for b in range(column, columns_end):
                    pixel = (a * down + i - top) * width + b * right + j - left
                    multiply(
                        after(y, (a * output_width + b) * filters), outputs * filters,
                        after(x, pixel * channels), height * width * channels, 0, 1,
                        room, 0, count, images, count, 1, channels, 1,
                    )  # fmt: skip
    if launch.relu != 0:
        for n in range(images * outputs):
            _rectify(carray(after(y, n * filters), count), count, scratch.dtype.type(0))


@compiled
def _rectify(numbers, count, zero):  # type: ignore[no-untyped-def]
    for n in range(count):
        value = numbers[n]
        numbers[n] = zero if value < zero else value


class Rectify(LaunchStruct):
    y: Reals
    size: int
    block_size: int


@compiled
def rectify(block, launch: Rectify, scratch):  # type: ignore[no-untyped-def]
    """max(y, 0) in place, ``block_size`` numbers a block."""
    first = block * launch.block_size
    count = min(launch.block_size, launch.size - first)
    _rectify(carray(after(launch.y, first), count), count, scratch.dtype.type(0))


class LetThrough(LaunchStruct):
    dy: Reals
    y: Reals
    passed: Reals
    size: int
    block_size: int


@compiled
def let_through(block, launch: LetThrough, scratch):  # type: ignore[no-untyped-def]
    """dy, zero where a ReLU gave zero, ``block_size`` numbers a block."""
    first = block * launch.block_size
    count, zero = min(launch.block_size, launch.size - first), scratch.dtype.type(0)
    dy, y = carray(after(launch.dy, first), count), carray(after(launch.y, first), count)
    passed = carray(after(launch.passed, first), count)
    for n in range(count):
        passed[n] = dy[n] if y[n] > zero else zero


class ByOutput(LaunchStruct):
    """``passed`` is (outputs, images, line) with ``filters`` of a line; ``y`` where there is a ReLU."""

    dy: Reals
    y: Reals | None
    passed: Reals
    dbias: Reals
    images: int
    outputs: int
    filters: int
    line: int
    block_filters: int


@compiled
def by_output(block, launch: ByOutput, scratch):  # type: ignore[no-untyped-def]
    """dy of some filters, output by output, zero where a ReLU gave zero, and its sum, dbias."""
    images, outputs, filters, line = launch.images, launch.outputs, launch.filters, launch.line
    first = block * launch.block_filters
    count = min(launch.block_filters, filters - first)
    dbias, zero = carray(after(launch.dbias, first), count), scratch.dtype.type(0)
    dbias[:] = 0.0
    rectified = launch.y is not None
    for n in range(images):
        for p in range(outputs):
            place = (n * outputs + p) * filters + first
            dy = carray(after(launch.dy, place), count)
            passed = carray(after(launch.passed, (p * images + n) * line + first), count)
            if rectified:
                y = carray(after(launch.y, place), count)
                for f in range(count):
                    passed[f] = dy[f] if y[f] > zero else zero
            else:
                for f in range(count):
                    passed[f] = dy[f]
            for f in range(count):
                dbias[f] += passed[f]


class FilterGradient(LaunchStruct):
    """A block computes the gradient for a tap and ``block_channels``; ``passed`` is as above."""

    x: Reals
    passed: Reals
    dweight: Reals
    sizes: Sizes
    images: int
    line: int
    block_channels: int


@compiled
def filter_gradient(block, launch: FilterGradient, scratch):  # type: ignore[no-untyped-def]
    """dweight of a tap and some channels, output after output."""
    sizes, images, line, step = launch.sizes, launch.images, launch.line, launch.block_channels
    channels, filters = sizes.channels, sizes.filters
    height, width = sizes.height, sizes.width
    output_height, output_width = sizes.output_height, sizes.output_width
    top, left = sizes.padding_top, sizes.padding_left
    down, right = sizes.stride_height, sizes.stride_width
    panels = -(-channels // step)
    tap, first = block // panels, block % panels * step
    count, i, j = min(step, channels - first), tap // sizes.kernel_width, tap % sizes.kernel_width
    dweight = after(launch.dweight, (tap * channels + first) * filters)
    row, rows_end = first_reached(i, down, top), reached_end(i, down, top, height, output_height)
    column = first_reached(j, right, left)
    columns_end = reached_end(j, right, left, width, output_width)
    if row >= rows_end or column >= columns_end:
        carray(dweight, count * filters)[:] = 0.0
    adding, pixels = 0, at(scratch, 0)
    for a in range(row, rows_end):
        for b in range(column, columns_end):
            pixel = (a * down + i - top) * width + b * right + j - left
            near = carray(pixels, (images, count))
            for n in range(images):
                place = (n * height * width + pixel) * channels + first
                theirs = carray(after(launch.x, place), count)
                for c in range(count):
                    near[n, c] = theirs[c]
            multiply(
                dweight, filters, pixels, 1, 0, count,
                after(launch.passed, (a * output_width + b) * images * line), 0, line,
                count, filters, 1, images, adding,
            )  # fmt: skip
            adding = 1


class ImageGradient(LaunchStruct):
    """A block computes ``block_channels`` of the channels of dx of ``block_images`` images."""

    weight: Reals
    passed: Reals
    dx: Reals
    sizes: Sizes
    images: int
    line: int
    block_channels: int
    block_images: int


_FEW = 16
"""Rows that are turned at a time: a cache has room for their lines, however far they are apart."""


@compiled
def image_gradient(block, launch: ImageGradient, scratch):  # type: ignore[no-untyped-def]
    """dx of some channels, tap after tap."""
    sizes, line, step = launch.sizes, launch.line, launch.block_channels
    channels, filters = sizes.channels, sizes.filters
    height, width = sizes.height, sizes.width
    output_height, output_width = sizes.output_height, sizes.output_width
    top, left = sizes.padding_top, sizes.padding_left
    down, right = sizes.stride_height, sizes.stride_width
    size = height * width * channels
    panels = -(-channels // step)
    first, before = block % panels * step, block // panels * launch.block_images
    count, images = min(step, channels - first), min(launch.block_images, launch.images - before)
    dx, turned = after(launch.dx, before * size + first), at(scratch, 0)
    for n in range(images * height * width):
        carray(after(dx, n * channels), count)[:] = 0.0
    for i in range(sizes.kernel_height):
        row, rows_end = (
            first_reached(i, down, top),
            reached_end(i, down, top, height, output_height),
        )
        for j in range(sizes.kernel_width):
            column = first_reached(j, right, left)
            columns_end = reached_end(j, right, left, width, output_width)
            if row >= rows_end or column >= columns_end:
                continue
            tap = (i * sizes.kernel_width + j) * channels + first
            _turn(turned, after(launch.weight, tap * filters), count, filters)
            for a in range(row, rows_end):
                for b in range(column, columns_end):
                    pixel = (a * down + i - top) * width + b * right + j - left
                    output = (a * output_width + b) * launch.images + before
                    multiply(
                        after(dx, pixel * channels), size,
                        after(launch.passed, output * line), line, 0, 1,
                        turned, 0, count, images, count, 1, filters, 1,
                    )  # fmt: skip


@compiled
def _turn(turned, weight, channels, filters):  # type: ignore[no-untyped-def]
    """(F, C) of the numbers of (C, F), some rows at a time."""
    given, across = carray(weight, channels * filters), carray(turned, channels * filters)
    for c in range(0, channels, _FEW):
        for f in range(filters):
            to, taken = f * channels + c, c * filters + f
            for _ in range(min(_FEW, channels - c)):
                across[to] = given[taken]
                to, taken = to + 1, taken + filters
