"""XLA's kernels for JAX arrays: convolutions by `lax`, no autodiff. Eager or inside `jax.jit`.

All gradients are convolutions again, of `dy` with the turned filters for the image, and of the image
with `dy` for the filters; of convolutions with groups or dilation JAX makes them, by transposition. XLA
has fast convolutions for float32 alone, so those of float64 stay products of matrices. Pools are
pointwise over the pixels of a window, which XLA makes one loop of with what is around them; its own
`select_and_scatter` is several times slower on a CPU.
"""

from dataclasses import replace
from functools import cache
from typing import Any

from arraycnn.errors import InvalidTypeError
from arraycnn.ops import generic
from arraycnn.ops.arrays import Array, is_jax_array
from arraycnn.ops.conv2d import grouped
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.window import Window


@cache
def jax_kernels() -> Kernels:
    """The record for JAX arrays and tracers. JAX is imported here."""
    from jax import lax, linear_transpose, numpy

    def conv2d(ops: Kernels, x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
        _check("conv2d", x, weight)
        if x.dtype != numpy.float32:
            return generic.conv2d(ops, x, weight, bias, window)
        top, bottom, left, right = window.padding
        y = lax.conv_general_dilated(
            *(x, weight, window.stride, ((top, bottom), (left, right))),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y if bias is None else y + bias

    def conv2d_backward(
        ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        _check("conv2d_backward", x, weight, dy)
        if x.dtype != numpy.float32:
            return generic.conv2d_backward(ops, x, weight, dy, window, need_dx)
        sizes = _sizes(x.shape, dy.shape, window)
        # The channels are what is summed over no more; the images are.
        dweight = lax.conv_general_dilated(
            *(x, dy, (1, 1), [(before, after) for before, after, _ in sizes]),
            rhs_dilation=window.stride,
            dimension_numbers=("CHWN", "IHWO", "HWNC"),
        )
        dbias = numpy.sum(dy, axis=(0, 1, 2))
        if not need_dx:
            return None, dweight, dbias
        dx = lax.conv_general_dilated(
            *(dy, lax.rev(weight, (0, 1)), (1, 1)),
            [(kernel - 1 - before, kernel - 1 - after) for before, after, kernel in sizes],
            lhs_dilation=window.stride,
            dimension_numbers=("NHWC", "HWOI", "NHWC"),
        )
        return dx, dweight, dbias

    def grouped_conv2d(
        ops: Kernels, x: Array, weight: Array, bias: Array | None, window: Window
    ) -> Array:
        _check("grouped_conv2d", x, weight)
        if x.dtype != numpy.float32:
            return grouped.grouped_conv2d(ops, x, weight, bias, window)
        y = in_groups(x, weight, window)
        return y if bias is None else y + bias

    def grouped_conv2d_backward(
        ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        _check("grouped_conv2d_backward", x, weight, dy)
        if x.dtype != numpy.float32:
            return grouped.grouped_conv2d_backward(ops, x, weight, dy, window, need_dx)
        dbias = numpy.sum(dy, axis=(0, 1, 2))
        (dweight,) = linear_transpose(lambda given: in_groups(x, given, window), weight)(dy)
        if not need_dx:
            return None, dweight, dbias
        (dx,) = linear_transpose(lambda given: in_groups(given, weight, window), x)(dy)
        return dx, dweight, dbias

    def in_groups(x: Array, weight: Array, window: Window) -> Array:
        top, bottom, left, right = window.padding
        return lax.conv_general_dilated(
            *(x, weight, window.stride, ((top, bottom), (left, right))),
            rhs_dilation=window.dilation,
            feature_group_count=x.shape[3] // weight.shape[2],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def side_by_side(windows: Array, input_shape: tuple[int, ...]) -> Array:
        """The image of windows that touch, (N, OH, KH, OW, KW, C); pixels of none are zero."""
        images, rows, down, columns, right, channels = windows.shape
        image = windows.reshape(images, rows * down, columns * right, channels)
        rest = [(0, size - own) for size, own in zip(input_shape, image.shape, strict=True)]
        return numpy.pad(image, rest)

    def in_windows(x: Array, window: Window) -> Array:
        """``x``, (N, OH, OW, C), for every pixel of its window: (N, OH, KH, OW, KW, C)."""
        images, rows, columns, channels = x.shape
        down, right = window.kernel_size
        shape = (images, rows, down, columns, right, channels)
        return lax.broadcast_in_dim(x, shape, (0, 1, 3, 5))

    def scattered(parts: list[Array], input_shape: tuple[int, ...], window: Window) -> Array:
        """Add one (N, OH, OW, C) array for each place in the window to the pixels at that place."""
        zero, total = numpy.zeros((), parts[0].dtype), None
        for offset, part in zip(window.offsets(), parts, strict=True):
            room = [(0, 0, 0)]
            for axis in (0, 1):
                stride, size = window.stride[axis], part.shape[1 + axis]
                after = input_shape[1 + axis] - offset[axis] - stride * (size - 1) - 1
                room.append((offset[axis], after, stride - 1))
            placed = lax.pad(part, zero, (*room, (0, 0, 0)))
            total = placed if total is None else total + placed
        return total

    def max_pool2d_backward(
        dy: Array, winners: Array, input_shape: tuple[int, ...], window: Window, ties: str
    ) -> Array:
        _check("max_pool2d_backward", dy, winners)
        if ties == "first" and _touch(window):
            dy, winners = in_windows(dy, window), in_windows(winners, window)
            row, column = (lax.broadcasted_iota(numpy.int32, dy.shape, axis) for axis in (2, 4))
            place = row * window.kernel_size[1] + column
            return side_by_side(numpy.where(winners == place, dy, 0.0), input_shape)
        parts = [
            numpy.where(winners == place if ties == "first" else winners[place], dy, 0.0)
            for place in range(len(window.offsets()))
        ]
        return scattered(parts, input_shape, window)

    def avg_pool2d_backward(dy: Array, input_shape: tuple[int, ...], window: Window) -> Array:
        _check("avg_pool2d_backward", dy)
        count = len(window.offsets())
        dy = dy / float(count)
        if _touch(window):
            return side_by_side(in_windows(dy, window), input_shape)
        return scattered([dy] * count, input_shape, window)

    return replace(
        GENERIC,
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        grouped_conv2d=grouped_conv2d,
        grouped_conv2d_backward=grouped_conv2d_backward,
        max_pool2d_backward=max_pool2d_backward,
        avg_pool2d_backward=avg_pool2d_backward,
    )


def _sizes(
    input_shape: tuple[int, ...], output_shape: tuple[int, ...], window: Window
) -> list[tuple[int, int, int]]:
    """For rows and columns: padding before, padding after as far as a window reads it, kernel.

    Negative where the last pixels are in no window.
    """
    top, _, left, _ = window.padding
    found = []
    for axis, before in enumerate((top, left)):
        kernel, size = window.kernel_size[axis], input_shape[1 + axis]
        read = (output_shape[1 + axis] - 1) * window.stride[axis] + kernel
        found.append((before, read - size - before, kernel))
    return found


def _touch(window: Window) -> bool:
    """Whether no pixel is in two windows, and each between the first and the last is in one."""
    return window.kernel_size == window.stride


def _check(owner: str, *arrays: Any) -> None:
    """Refuse arrays of another library."""
    for array in arrays:
        if not is_jax_array(array):
            message = (
                f"{owner}: JAX's kernels take JAX arrays, got {type(array)!r}; "
                "keep all arrays of a model on its own backend"
            )
            raise InvalidTypeError(message)
