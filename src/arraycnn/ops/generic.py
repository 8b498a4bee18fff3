"""Every kernel in the array-API standard (and array-api-extra) only: the reference for all others.

The contracts stand here; a faster kernel for one library keeps the signature and points to it.
Axes: N images, H rows, W columns, C channels, F filters, KH x KW window, OH x OW output, K classes.
Kernels that are made of others take the record they belong to as ``ops``, so that replacing
``matmul`` alone changes convolution, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from arraycnn.ops.arrays import Array, array_namespace, at, device, pad
from arraycnn.ops.window import Window

if TYPE_CHECKING:
    from arraycnn.ops.kernels import Kernels


def matmul(a: Array, b: Array) -> Array:
    """Product of two matrices, (M, K) and (K, N), of one floating dtype."""
    return array_namespace(a, b).matmul(a, b)


def gather(images: Array, indices: Array) -> Array:
    """The rows of ``images``, (M, ...), at ``indices``, (N,) int32, all within range: (N, ...)."""
    return array_namespace(images, indices).take(images, indices, axis=0)


def rescale(x: Array, dtype: str) -> Array:
    """uint8 numbers, of any shape, as x / 255 - 0.5 in ``dtype``, "float32" or "float64"."""
    return array_namespace(x).astype(x, getattr(array_namespace(x), dtype)) / 255.0 - 0.5


def dense(ops: Kernels, x: Array, weight: Array, bias: Array | None) -> Array:
    """``x``, (N, inputs), times ``weight``, (inputs, outputs), plus a bias, (outputs,)."""
    y = ops.matmul(x, weight)
    return y if bias is None else y + bias


def dense_backward(
    ops: Kernels, x: Array, weight: Array, dy: Array, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of `dense`: (dx or None, dweight, dbias) for ``dy``, (N, outputs)."""
    dx = ops.matmul(dy, weight.T) if need_dx else None
    return dx, ops.matmul(x.T, dy), array_namespace(dy).sum(dy, axis=0)


def im2col(x: Array, window: Window) -> Array:
    """Every window of ``x`` as one row.

    Parameters
    ----------
    x : array, (N, H, W, C)

    Returns
    -------
    array, (N * OH * OW, KH * KW * C)
        Columns run over the window's rows, its columns, then the channels.
    """
    xp = array_namespace(x)
    images, height, width, channels = x.shape
    rows, columns = window.output_shape(height, width)
    wide = padded(x, window)
    pixels = [wide[window.pixels(offset, (rows, columns))] for offset in window.offsets()]
    return xp.reshape(xp.concat(pixels, axis=3), (images * rows * columns, len(pixels) * channels))


def col2im(columns: Array, input_shape: tuple[int, ...], window: Window) -> Array:
    """The adjoint of `im2col`: add every row back to the pixels it was read from.

    Parameters
    ----------
    columns : array, (N * OH * OW, KH * KW * C)
    input_shape : (N, H, W, C)

    Returns
    -------
    array, (N, H, W, C)
    """
    xp = array_namespace(columns)
    images, height, width, channels = input_shape
    output = window.output_shape(height, width)
    offsets = window.offsets()
    by_offset = xp.reshape(columns, (images, *output, len(offsets), channels))
    parts = [by_offset[:, :, :, number, :] for number in range(len(offsets))]
    return scatter(parts, input_shape, window)


def conv2d(ops: Kernels, x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """Cross-correlation of ``x``, (N, H, W, C), with ``weight``, (KH, KW, C, F), plus a bias, (F,).

    Returns (N, OH, OW, F).
    """
    xp = array_namespace(x)
    images, height, width, _ = x.shape
    filters = weight.shape[3]
    y = ops.matmul(ops.im2col(x, window), xp.reshape(weight, (-1, filters)))
    if bias is not None:
        y = y + bias
    return xp.reshape(y, (images, *window.output_shape(height, width), filters))


def conv2d_backward(
    ops: Kernels, x: Array, weight: Array, dy: Array, window: Window, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of `conv2d`: (dx or None, dweight, dbias) for ``dy``, (N, OH, OW, F).

    The columns are built again from ``x``: keeping them from the forward pass would hold KH * KW
    times the memory of the image.
    """
    xp = array_namespace(x, dy)
    filters = weight.shape[3]
    rows = xp.reshape(dy, (-1, filters))
    dweight = xp.reshape(ops.matmul(ops.im2col(x, window).T, rows), weight.shape)
    dbias = xp.sum(rows, axis=0)
    if not need_dx:
        return None, dweight, dbias
    dcolumns = ops.matmul(rows, xp.reshape(weight, (-1, filters)).T)
    return ops.col2im(dcolumns, x.shape, window), dweight, dbias


def max_pool2d(x: Array, window: Window, ties: str) -> tuple[Array, Array]:
    """The largest pixel of each window, and which it was.

    Parameters
    ----------
    x : array, (N, H, W, C)
    ties : "first" or "all"
        Whether the first of several equal maxima in row-major order wins, or all of them.

    Returns
    -------
    y : array, (N, OH, OW, C)
        NaN where a window holds NaN.
    winners : array
        For "first": the winner's row-major place in the window, (N, OH, OW, C), of any integer
        dtype that holds it.
        For "all": whether each pixel of the window wins, (KH * KW, N, OH, OW, C), bool.
        Only `max_pool2d_backward` of the same record reads them; PyTorch's numbers the pixels of
        the image instead.
    """
    xp = array_namespace(x)
    pixels = _window_pixels(x, window)
    y = pixels[0]
    winner = xp.zeros(y.shape, dtype=xp.int32, device=device(x))
    for place, pixel in enumerate(pixels[1:], start=1):
        if ties == "first":
            winner = xp.where(pixel > y, place, winner)
        y = xp.maximum(y, pixel)
    if ties == "first":
        return y, winner
    return y, xp.stack([pixel == y for pixel in pixels])


def max_pool2d_backward(
    dy: Array, winners: Array, input_shape: tuple[int, ...], window: Window, ties: str
) -> Array:
    """Gradient of `max_pool2d` for the image, (N, H, W, C): each winner receives ``dy``."""
    xp = array_namespace(dy)
    parts = [
        xp.where(winners == place if ties == "first" else winners[place, ...], dy, 0.0)
        for place in range(len(window.offsets()))
    ]
    return scatter(parts, input_shape, window)


def at_winners(x: Array, winners: Array, window: Window) -> Array:
    """What ``x``, (N, H, W, C), holds where the windows of a max-pool have their winners.

    ``winners`` are those of `max_pool2d` with "first", (N, OH, OW, C), as the result is.
    """
    xp = array_namespace(x)
    pixels = _window_pixels(x, window)
    found = pixels[0]
    for place, pixel in enumerate(pixels[1:], start=1):
        found = xp.where(winners == place, pixel, found)
    return found


def avg_pool2d(x: Array, window: Window) -> Array:
    """The mean of each window of ``x``, (N, H, W, C): (N, OH, OW, C)."""
    pixels = _window_pixels(x, window)
    total = pixels[0]
    for pixel in pixels[1:]:
        total = total + pixel
    return total / float(len(pixels))


def avg_pool2d_backward(dy: Array, input_shape: tuple[int, ...], window: Window) -> Array:
    """Gradient of `avg_pool2d` for the image, (N, H, W, C)."""
    count = len(window.offsets())
    return scatter([dy / float(count)] * count, input_shape, window)


def softmax_cross_entropy(
    logits: Array, labels: Array, batch_size: int
) -> tuple[Array, Array, Array]:
    """Cross-entropy of softmax(``logits``) against ``labels``, its gradient, and how many are correct.

    Stable: the row's maximum is subtracted before the exponential, and the logarithm of the
    probability is never taken of a rounded-to-zero probability.

    Parameters
    ----------
    logits : array, (N, K), floating
    labels : array, (N,), int32, each in [0, K)
    batch_size : int
        What the gradient is divided by: N, or more where the N images are a part of the batch.

    Returns
    -------
    loss_sum : array, (), nats, summed over the N images
    dlogits : array, (N, K), the gradient of (sum of losses) / batch_size
    correct : array, (), int32, how many rows have their largest logit at the label
    """
    xp = array_namespace(logits, labels)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    total = xp.sum(exponentials, axis=1, keepdims=True)
    classes = xp.arange(logits.shape[1], dtype=labels.dtype, device=device(labels))
    is_label = labels[:, None] == classes[None, :]
    loss_sum = -xp.sum(xp.where(is_label, shifted - xp.log(total), 0.0))
    dlogits = (exponentials / total - xp.astype(is_label, logits.dtype)) / float(batch_size)
    predicted = xp.astype(xp.argmax(logits, axis=1), labels.dtype)
    correct = xp.sum(xp.astype(predicted == labels, xp.int32), dtype=xp.int32)
    return loss_sum, dlogits, correct


def relu(x: Array) -> Array:
    """max(x, 0), of any shape."""
    return array_namespace(x).maximum(x, 0.0)


def relu_backward(dy: Array, y: Array) -> Array:
    """Gradient of `relu`, whose output was ``y``; 0 at 0."""
    return array_namespace(dy).where(y > 0.0, dy, 0.0)


def dropout(
    ops: Kernels, x: Array, rate: float, seed: Array, step: Array, layer: int, indices: Array
) -> tuple[Array, Array]:
    """Zero each number of ``x``, (N, ...), with probability ``rate``, else divide it by 1 - rate.

    ``seed``, ``step``, ``layer`` and ``indices`` choose the bits, as in `random_bits`.
    Returns (y, keep): which numbers were kept, bool, of the shape of ``x``.
    """
    xp = array_namespace(x)
    bits = ops.random_bits(seed, step, layer, indices, math.prod(x.shape[1:]))
    keep = xp.reshape(bits, x.shape) >= dropout_threshold(rate)
    return xp.where(keep, x / (1.0 - rate), 0.0), keep


def dropout_backward(dy: Array, keep: Array, rate: float) -> Array:
    """Gradient of `dropout`."""
    return array_namespace(dy).where(keep, dy / (1.0 - rate), 0.0)


def dropout_threshold(rate: float) -> int:
    """The smallest random word that keeps its number.

    The words are uniform over all int32, so this keeps exactly the share 1 - rate of them. Rates
    closest to 1 round to a threshold above every int32, which some libraries wrap.
    """
    return min(round(rate * 2**32) - 2**31, 2**31 - 1)


def softmax(x: Array) -> Array:
    """Probabilities over the last axis, from logits of any size."""
    xp = array_namespace(x)
    exponentials = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=-1, keepdims=True)


def sgd_update(
    parameters: list[Array],
    gradients: list[Array],
    velocities: list[Array],
    learning_rate: Array,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> tuple[list[Array], list[Array]]:
    """One step of SGD for all parameter tensors: (parameters, velocities).

    As in PyTorch: v = momentum v + g with v starting at 0, then p -= learning_rate * v, or
    p -= learning_rate * (g + momentum v) with Nesterov's momentum; weight decay adds
    weight_decay * p to g. ``velocities`` is empty without momentum; ``learning_rate`` is an
    array, ().
    """
    if weight_decay:
        gradients = [g + weight_decay * p for p, g in zip(parameters, gradients, strict=True)]
    directions = gradients
    if momentum:
        velocities = [momentum * v + g for v, g in zip(velocities, gradients, strict=True)]
        directions = velocities
        if nesterov:
            directions = [g + momentum * v for v, g in zip(velocities, gradients, strict=True)]
    moved = [p - learning_rate * d for p, d in zip(parameters, directions, strict=True)]
    return moved, velocities


def adam_update(
    parameters: list[Array],
    gradients: list[Array],
    first_moments: list[Array],
    second_moments: list[Array],
    decays: tuple[Array, Array],
    learning_rate: Array,
    *,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
    decoupled: bool,
) -> tuple[list[Array], list[Array], list[Array], tuple[Array, Array]]:
    """One step of Adam for all parameter tensors: (parameters, both moments, decays).

    Kingma and Ba, "Adam", 2015, algorithm 1. ``decays`` are beta1^t and beta2^t of the steps done
    so far, arrays, (), both 1 at first: so nothing reads the number of the step. ``decoupled``
    applies the weight decay to the parameter (Loshchilov and Hutter, AdamW, 2019) and not to the
    gradient.
    """
    xp = array_namespace(learning_rate)
    beta1, beta2 = betas
    decays = (decays[0] * beta1, decays[1] * beta2)
    step_size = learning_rate / (1.0 - decays[0])
    root_correction = xp.sqrt(1.0 - decays[1])
    if weight_decay and not decoupled:
        gradients = [g + weight_decay * p for p, g in zip(parameters, gradients, strict=True)]
    first_moments = [
        beta1 * m + (1.0 - beta1) * g for m, g in zip(first_moments, gradients, strict=True)
    ]
    second_moments = [
        beta2 * v + (1.0 - beta2) * (g * g) for v, g in zip(second_moments, gradients, strict=True)
    ]
    moved = []
    for p, m, v in zip(parameters, first_moments, second_moments, strict=True):
        if weight_decay and decoupled:
            p = p - (learning_rate * weight_decay) * p
        moved.append(p - step_size * (m / (xp.sqrt(v) / root_correction + epsilon)))
    return moved, first_moments, second_moments, decays


def padded(x: Array, window: Window) -> Array:
    """``x``, (N, H, W, C), with the window's zeros around it."""
    top, bottom, left, right = window.padding
    if not (top or bottom or left or right):
        return x
    return pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


def _window_pixels(x: Array, window: Window) -> list[Array]:
    output = window.output_shape(x.shape[1], x.shape[2])
    return [x[window.pixels(offset, output)] for offset in window.offsets()]


def scatter(parts: list[Array], input_shape: tuple[int, ...], window: Window) -> Array:
    """Add one (N, OH, OW, C) array for each place in the window to the pixels at that place."""
    xp = array_namespace(parts[0])
    images, height, width, channels = input_shape
    output = window.output_shape(height, width)
    padded_height, padded_width = window.padded_shape(height, width)
    total = xp.zeros(
        (images, padded_height, padded_width, channels),
        dtype=parts[0].dtype,
        device=device(parts[0]),
    )
    apart = all(s >= e for s, e in zip(window.stride, window.extent, strict=True))
    for offset, part in zip(window.offsets(), parts, strict=True):
        pixels = at(total)[window.pixels(offset, output)]
        total = pixels.set(part) if apart else pixels.add(part)
    top, _, left, _ = window.padding
    return total[:, top : top + height, left : left + width, :]
