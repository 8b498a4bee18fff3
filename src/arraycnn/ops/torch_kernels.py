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
from arraycnn.ops.conv2d import grouped
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.optimizer_updates import torch as torch_updates
from arraycnn.ops.random_bits import torch as torch_random
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
        if _is_product(window):
            y = _pixels(x, window)
            product = dense(ops, y.reshape(-1, y.shape[3]), weight[0, 0], bias)
            return product.reshape(*y.shape[:3], weight.shape[3])
        if window.kernel_size == (1, 1):
            return generic.conv2d(ops, x, weight, bias, window)
        images, padding = padded(x, window)
        y = functional.conv2d(images, filters(weight), bias, window.stride, padding)
        return _channels_at_end(y)

    def conv2d_backward(
        ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        _check("conv2d_backward", x, weight, dy)
        if _is_product(window):
            rows = _pixels(x, window).reshape(-1, x.shape[3])
            douts = dy.reshape(-1, dy.shape[3])
            drows, dweight, dbias = dense_backward(ops, rows, weight[0, 0], douts, need_dx)
            dweight = dweight.reshape(weight.shape)
            if drows is None:
                return None, dweight, dbias
            dx = x.new_zeros(x.shape)
            _pixels(dx, window)[...] = drows.reshape(*dy.shape[:3], -1)
            return dx, dweight, dbias
        if window.kernel_size == (1, 1):
            return generic.conv2d_backward(ops, x, weight, dy, window, need_dx)
        return convolution_backward(x, weight, dy, window, need_dx)

    def convolution_backward(
        x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        images, padding = padded(x, window)
        # oneDNN's gradient of the bias takes up to ten times what the sum does.
        dbias = dy.sum((0, 1, 2))
        dx, dweight, _ = aten.convolution_backward.default(
            *(channels_last(dy), images, filters(weight), None),
            *(window.stride, padding, window.dilation, False, (0, 0)),
            *(x.shape[3] // weight.shape[2], (need_dx, True, False)),
        )
        if need_dx:
            top, _, left, _ = window.padding
            if images.shape[2:] != x.shape[1:3]:  # padded before, not by the convolution
                dx = dx[:, :, top : top + x.shape[1], left : left + x.shape[2]]
            dx = _channels_at_end(dx)
        return dx if need_dx else None, dweight.permute(2, 3, 1, 0), dbias

    def grouped_conv2d(
        ops: Kernels, x: Array, weight: Array, bias: Array | None, window: Window
    ) -> Array:
        _check("grouped_conv2d", x, weight)
        if window.kernel_size == (1, 1):
            return grouped.grouped_conv2d(ops, x, weight, bias, window)
        images, padding = padded(x, window)
        settings = window.stride, padding, window.dilation, x.shape[3] // weight.shape[2]
        return _channels_at_end(functional.conv2d(images, filters(weight), bias, *settings))

    def grouped_conv2d_backward(
        ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        _check("grouped_conv2d_backward", x, weight, dy)
        if window.kernel_size == (1, 1):
            return grouped.grouped_conv2d_backward(ops, x, weight, dy, window, need_dx)
        return convolution_backward(x, weight, dy, window, need_dx)

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

    def dense_backward(
        ops: Kernels, x: Array, weight: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        _check("dense_backward", x, weight, dy)
        return dy @ weight.T if need_dx else None, x.T @ dy, dy.sum(0)

    def relu(x: Array) -> Array:
        _check("relu", x)
        return torch.relu(x)

    def relu_backward(dy: Array, y: Array) -> Array:
        _check("relu_backward", dy, y)
        return aten.threshold_backward.default(dy, y, 0)

    def batch_norm(
        x: Array,
        weight: Array,
        bias: Array,
        running: tuple[Array, Array],
        momentum: float,
        epsilon: float,
        trains: bool,
    ) -> tuple[Array, tuple[Array, Array], Any]:
        _check("batch_norm", x, weight)
        images = channels_last(x)
        # What PyTorch changes in place are copies.
        new = tuple(part.clone() for part in running) if trains else running
        y, mean, inverse = aten.native_batch_norm.default(
            images, weight, bias, *new, trains, momentum, epsilon
        )
        if trains and images.numel() == images.shape[1]:  # of one number a channel
            new = new[0], (1.0 - momentum) * running[1]
        return _channels_at_end(y), new, (images, mean, inverse, new, epsilon)

    def batch_norm_backward(
        dy: Array, weight: Array, residuals: Any, trains: bool, need_dx: bool
    ) -> tuple[Array | None, Array, Array]:
        _check("batch_norm_backward", dy, weight)
        images, mean, inverse, running, epsilon = residuals
        dx, dweight, dbias = aten.native_batch_norm_backward.default(
            *(channels_last(dy), images, weight, *running, mean, inverse),
            *(trains, epsilon, (need_dx, True, True)),
        )
        return _channels_at_end(dx) if need_dx else None, dweight, dbias

    def softmax_cross_entropy(
        logits: Array, labels: Array, batch_size: int
    ) -> tuple[Array, Array, Array]:
        _check("softmax_cross_entropy", logits, labels)
        logs, rows = torch.log_softmax(logits, 1), labels.long()
        loss_sum = functional.nll_loss(logs, rows, reduction="sum")
        dlogits = logs.exp()
        dlogits.scatter_add_(1, rows[:, None], dlogits.new_full((), -1.0).expand(len(rows), 1))
        correct = (logits.argmax(1) == rows).sum(dtype=torch.int32)
        return loss_sum, dlogits.div_(float(batch_size)), correct

    return replace(
        GENERIC,
        dense=dense,
        dense_backward=dense_backward,
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        grouped_conv2d=grouped_conv2d,
        grouped_conv2d_backward=grouped_conv2d_backward,
        max_pool2d=max_pool2d,
        max_pool2d_backward=max_pool2d_backward,
        avg_pool2d=avg_pool2d,
        avg_pool2d_backward=avg_pool2d_backward,
        relu=relu,
        relu_backward=relu_backward,
        batch_norm=batch_norm,
        batch_norm_backward=batch_norm_backward,
        random_bits=torch_random.random_bits,
        softmax_cross_entropy=softmax_cross_entropy,
        sgd_update=torch_updates.sgd_update,
        adam_update=torch_updates.adam_update,
    )


def _is_product(window: Window) -> bool:
    """Whether each window is one pixel of the image itself."""
    return window.kernel_size == (1, 1) and not any(window.padding)


def _pixels(x: Array, window: Window) -> Array:
    """The pixels of ``x``, (N, H, W, C), that windows of one pixel see: (N, OH, OW, C), a view."""
    return x[:, :: window.stride[0], :: window.stride[1], :]


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
