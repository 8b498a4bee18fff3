"""PyTorch's kernels for its own tensors: convolution, pools and dense layers, without autograd.

PyTorch names the axes (N, C, H, W). A permuted view of (N, H, W, C) is its memory format
``channels_last``, in which its kernels compute: nothing is copied between two layers.

A window of one pixel is a product of matrices, and is computed as one: on a CPU, oneDNN's strided
gradient of it writes beyond its memory (seen with PyTorch 2.13, one thread, 4 channels and 6 filters).
"""

from dataclasses import replace
from functools import cache
from typing import Any

from arraycnn.errors import InvalidTypeError
from arraycnn.ops import generic
from arraycnn.ops.arrays import Array, is_torch_array
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.window import Window


@cache
def torch_kernels() -> Kernels:
    """The record for tensors of any device. PyTorch is imported here."""
    import torch

    aten, functional = torch.ops.aten, torch.nn.functional

    def channels_last(x: Array) -> Array:
        return _channels_first(x).contiguous(memory_format=torch.channels_last)

    def padded(x: Array, window: Window) -> tuple[Array, tuple[int, int]]:
        """``x`` for PyTorch, and what its convolution has to pad it with, alike on both sides."""
        top, bottom, left, right = window.padding
        x = channels_last(x)
        if (top, left) == (bottom, right):
            return x, (top, left)
        return functional.pad(x, (left, right, top, bottom)), (0, 0)

    def filters(weight: Array) -> Array:
        # Not channels last: what runs where oneDNN does not would refuse their gradient.
        return weight.permute(3, 2, 0, 1).contiguous()

    def conv2d(ops: Kernels, x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
        _check("conv2d", x, weight)
        if window.kernel_size == (1, 1):
            return generic.conv2d(ops, x, weight, bias, window)
        images, padding = padded(x, window)
        y = functional.conv2d(images, filters(weight), bias, window.stride, padding)
        return _channels_at_end(y)

    def conv2d_backward(
        ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        _check("conv2d_backward", x, weight, dy)
        if window.kernel_size == (1, 1):
            return generic.conv2d_backward(ops, x, weight, dy, window, need_dx)
        images, padding = padded(x, window)
        dx, dweight, dbias = aten.convolution_backward(
            *(channels_last(dy), images, filters(weight), [weight.shape[3]]),
            *(window.stride, padding, (1, 1), False, (0, 0), 1, (need_dx, True, True)),
        )
        if need_dx:
            top, _, left, _ = window.padding
            if images.shape[2:] != x.shape[1:3]:  # padded before, not by the convolution
                dx = dx[:, :, top : top + x.shape[1], left : left + x.shape[2]]
            dx = _channels_at_end(dx)
        return dx if need_dx else None, dweight.permute(2, 3, 1, 0), dbias

    def max_pool2d(x: Array, window: Window, ties: str) -> tuple[Array, Array]:
        _check("max_pool2d", x)
        if ties != "first":
            return generic.max_pool2d(x, window, ties)
        y, pixels = aten.max_pool2d_with_indices(
            channels_last(x), window.kernel_size, window.stride
        )
        return _channels_at_end(y), _channels_at_end(pixels)

    def max_pool2d_backward(
        dy: Array, winners: Array, input_shape: tuple[int, ...], window: Window, ties: str
    ) -> Array:
        _check("max_pool2d_backward", dy, winners)
        if ties != "first":
            return generic.max_pool2d_backward(dy, winners, input_shape, window, ties)
        # Of the image its shape alone is asked for.
        image = _channels_first(dy.new_empty(input_shape))
        dx = aten.max_pool2d_with_indices_backward(
            *(channels_last(dy), image, window.kernel_size, window.stride),
            *((0, 0), (1, 1), False, channels_last(winners)),
        )
        return _channels_at_end(dx)

    def avg_pool2d(x: Array, window: Window) -> Array:
        _check("avg_pool2d", x)
        y = functional.avg_pool2d(channels_last(x), window.kernel_size, window.stride)
        return _channels_at_end(y)

    def avg_pool2d_backward(dy: Array, input_shape: tuple[int, ...], window: Window) -> Array:
        _check("avg_pool2d_backward", dy)
        image = _channels_first(dy.new_empty(input_shape))
        dx = aten.avg_pool2d_backward(
            *(channels_last(dy), image, window.kernel_size, window.stride),
            *((0, 0), False, True, None),
        )
        return _channels_at_end(dx)

    def dense(ops: Kernels, x: Array, weight: Array, bias: Array | None) -> Array:
        _check("dense", x, weight)
        return x @ weight if bias is None else torch.addmm(bias, x, weight)

    return replace(
        GENERIC,
        dense=dense,
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        max_pool2d=max_pool2d,
        max_pool2d_backward=max_pool2d_backward,
        avg_pool2d=avg_pool2d,
        avg_pool2d_backward=avg_pool2d_backward,
    )


def _channels_first(x: Array) -> Array:
    return x.permute(0, 3, 1, 2)


def _channels_at_end(x: Array) -> Array:
    return x.permute(0, 2, 3, 1)


def _check(owner: str, *arrays: Any) -> None:
    """Refuse arrays of another library."""
    for array in arrays:
        if not is_torch_array(array):
            message = (
                f"{owner}: PyTorch's kernels take its tensors, got {type(array)!r}; "
                "keep all arrays of a model on its own backend"
            )
            raise InvalidTypeError(message)
