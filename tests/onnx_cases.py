"""Functions of the standard that a user's layer may be made of, and that layer.

Each is called with a namespace and float32 images, (N, 4, 4, 3). What it gives is known from NumPy.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.ops import GENERIC, Window, array_namespace
from arraycnn.ops.arrays import at, pad

SHAPE = (4, 4, 3)


@dataclass(frozen=True)
class Of:
    """A user's layer: ``function(xp, x)``."""

    function: Any

    def init(self, rng, input_shape):
        two = np.zeros((2, *input_shape), np.float32)
        with np.errstate(all="ignore"):
            return {}, {}, self.function(array_namespace(two), two).shape[1:]

    def forward(self, params, state, x, context):
        return self.function(array_namespace(x), x), state, ()

    def backward(self, params, residuals, dy, context, need_dx): ...


@dataclass(frozen=True)
class Calling:
    """A user's layer that asks for kernels: ``function(ops, x)``."""

    function: Any

    def init(self, rng, input_shape):
        return {}, {}, self.function(GENERIC, np.zeros((2, *input_shape), np.float32)).shape[1:]

    def forward(self, params, state, x, context):
        return self.function(context.ops, x), state, ()

    def backward(self, params, residuals, dy, context, need_dx): ...


def floats(xp, x):
    return xp.astype(x, xp.float32)


def ints(xp, x, kind="int32"):
    return xp.astype(x * 5.0, getattr(xp, kind))


def doubles(xp, x):
    return xp.astype(x, xp.float64)


def rows(xp, x):
    return xp.reshape(x, (x.shape[0], -1))


def gram(xp, x):
    """Products of images with each other: an array with the batch twice in its shape."""
    return xp.matmul(xp.matmul(rows(xp, x), rows(xp, x).T), rows(xp, x))


def table(xp, *shape):
    return xp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))


POINTWISE = {
    "expm1 of small numbers": lambda xp, x: xp.expm1(x * 1e-6) * 1e6,
    "expm1": lambda xp, x: xp.expm1(x * 3.0),
    "log1p of small numbers": lambda xp, x: xp.log1p(x * 1e-6) * 1e6,
    "log1p": lambda xp, x: xp.log1p(xp.square(x)) + xp.log1p(xp.abs(x) * 1e30),
    "log1p at the ends": lambda xp, x: xp.log1p(floats(xp, xp.where(x > 0.0, xp.inf, -1.0))),
    "powers": lambda xp, x: xp.pow(xp.abs(x) + 0.1, x) + x**2 + 2.0**x,
    "roundings": lambda xp, x: xp.floor(x) + xp.ceil(x) * 2.0 + xp.round(x * 2.0) * 3.0,
    "trunc": lambda xp, x: xp.trunc(x * 3.0) - xp.sign(x),
    "remainders": lambda xp, x: x % 0.7 + (x % -0.7) * 2.0 + x % (x[:, :1] + 9.0),
    "floors of quotients": lambda xp, x: x // 0.3 + (x // -0.3) * 2.0,
    "floors of quotients are whole": lambda xp, x: floats(xp, xp.floor(x // 0.007) == x // 0.007),
    "comparisons": lambda xp, x: floats(xp, (x > 0.0) & (x <= 0.5) | (x >= 1.0) | ~(x < 0.9)),
    "equality": lambda xp, x: floats(xp, x == x[..., :1]) - 2.0 * floats(xp, x != x[:, :1]),
    "xor": lambda xp, x: floats(xp, xp.logical_xor(x > 0.0, x > 1.0) ^ (x > -1.0)),
    "bools by size": lambda xp, x: floats(xp, (x > 0.0) < (x > 1.0)) + floats(xp, x != 1.0),
    "bools of images": lambda xp, x: floats(xp, xp.isnan(xp.log(x)) | xp.isinf(xp.log(xp.abs(x)))),
    "finite": lambda xp, x: floats(xp, xp.isfinite(xp.log(x))) + floats(xp, xp.isnan(ints(xp, x))),
    "where": lambda xp, x: xp.where(x > 0.0, x, -3.0) + xp.where(x < 0.0, 1.0, x),
    "whole numbers": lambda xp, x: floats(xp, ints(xp, x) // 3) + floats(xp, ints(xp, x) % 3),
    "negative divisors": lambda xp, x: floats(xp, ints(xp, x) // -3 * 10 + ints(xp, x) % -3),
    "int8": lambda xp, x: floats(xp, ints(xp, x, "int8") * 9 + ints(xp, x, "int8")),
    "uint8": lambda xp, x: floats(xp, xp.astype(xp.abs(x) * 99.0, xp.uint8) * 3),
    "uint8 by size": lambda xp, x: floats(xp, xp.astype(xp.abs(x) * 99.0, xp.uint8) > 50),
    "signs": lambda xp, x: floats(xp, xp.abs(ints(xp, x)) - xp.sign(ints(xp, x)) + -ints(xp, x)),
    "rounded ints": lambda xp, x: floats(xp, xp.floor(ints(xp, x)) + xp.round(ints(xp, x))),
    "largest of ints": lambda xp, x: floats(xp, xp.maximum(ints(xp, x), 2) + ints(xp, x) ** 2),
    "double precision": lambda xp, x: floats(
        xp, xp.maximum(xp.tanh(doubles(xp, x)), 0.0) + xp.floor(doubles(xp, x)) % 2.0
    ),
    "small in double precision": lambda xp, x: floats(xp, xp.expm1(doubles(xp, x) * 1e-12) * 1e12),
    "nothing": lambda xp, x: x,
    "no numbers of its own": lambda xp, x: xp.ones_like(x) + xp.zeros_like(x),
    "single numbers meet": lambda xp, x: xp.maximum(
        xp.full((x.shape[0], 1, 4), 2.0, dtype=x.dtype), xp.full((5, 1), 1.0, dtype=x.dtype)
    ),
    "an int given as a fraction": lambda xp, x: floats(xp, x + xp.full((3,), 2.7, dtype=xp.int32)),
    "numbers of several ranks": lambda xp, x: x * xp.mean(x, axis=(1, 2))[:, None, None, :],
    "rows on images": lambda xp, x: x + xp.sum(x, axis=(0, 1)),
    "a table": lambda xp, x: x * table(xp, 4, 1, 3) + table(xp, 3),
}
REDUCTIONS = {
    "sums": lambda xp, x: xp.sum(x, axis=(1, 2)) - xp.sum(x, axis=1, keepdims=True)[:, 0, 0, :],
    "sum of no axes": lambda xp, x: xp.sum(x, axis=()) + xp.sum(x),
    "means": lambda xp, x: x - xp.mean(x, axis=(1, 2), keepdims=True) - xp.mean(x),
    "deviation over the batch": lambda xp, x: x / (xp.std(x, axis=(0, 1, 2)) + 0.5),
    "mean over the batch": lambda xp, x: x - xp.mean(x, axis=0),
    "of all channels": lambda xp, x: xp.max(x, axis=3) - xp.min(x, axis=-1) * 2.0,
    "of all pixels": lambda xp, x: (
        xp.max(xp.reshape(x, (x.shape[0], 16, 3)), axis=1)
        - xp.mean(xp.reshape(x, (x.shape[0], 4, 12)), axis=1)[:, :3]
    ),
    "half a mean": lambda xp, x: xp.sum(x, axis=3, keepdims=True) / 6.0,
    "product": lambda xp, x: xp.prod(x, axis=1),
    "ends": lambda xp, x: xp.max(x, axis=(1, 3)) - xp.min(x, axis=(-1, 1)),
    "flags": lambda xp, x: (
        floats(xp, xp.any(x > 1.0, axis=1)) + floats(xp, xp.all(x > 0.0, axis=2))
    ),
    "places": lambda xp, x: floats(xp, xp.argmax(x, axis=2)) - floats(xp, xp.argmin(x, axis=1)),
    "place of all": lambda xp, x: x + floats(xp, xp.argmax(x, axis=3, keepdims=True)),
    "places in rows": lambda xp, x: floats(xp, xp.argmax(rows(xp, x), axis=1)),
    "places of ints": lambda xp, x: floats(xp, xp.argmax(ints(xp, x), axis=2)),
    "sum of ints": lambda xp, x: floats(xp, xp.sum(ints(xp, x), axis=1)),
    "sum of large ints": lambda xp, x: floats(
        xp, xp.sum(xp.astype(xp.clip(xp.abs(x), 0.0, 2.0) * 1e9, xp.int32), axis=(1, 2))
    ),
    "sum of bytes": lambda xp, x: floats(
        xp, xp.sum(xp.astype(xp.abs(x) * 99.0, xp.uint8), axis=1) + xp.sum(x > 0.0, axis=1)
    ),
    "largest of bytes": lambda xp, x: floats(xp, xp.max(ints(xp, x, "int8"), axis=1)),
    "in double precision": lambda xp, x: floats(
        xp, xp.mean(doubles(xp, x), axis=1) * xp.max(doubles(xp, x), axis=1)
    ),
}
MOVES = {
    "slices": lambda xp, x: x[:, 1:3, ::2, :],
    "slices from behind": lambda xp, x: x[:, ::-1, -3:, ::-1],
    "slices between": lambda xp, x: x[:, 3:0:-1, :, 1:],
    "ints": lambda xp, x: x[:, 0, :, -1],
    "new axes": lambda xp, x: x[:, None, :, 0, ..., None],
    "the batch from behind": lambda xp, x: x[::-1] + x[-1],
    "the first image": lambda xp, x: x - x[:1] + x[0],
    "all of the batch": lambda xp, x: x[: x.shape[0], ...] * 2.0,
    "rolls": lambda xp, x: xp.roll(x, (1, -2), axis=(1, 2)) + xp.flip(x, axis=(1, 3)),
    "concatenation": lambda xp, x: xp.concat([x, x * 2.0], axis=-1),
    "a stack": lambda xp, x: xp.stack([x, x + 1.0], axis=1),
    "twice the batch": lambda xp, x: xp.reshape(
        xp.concat([x, x * 2.0], axis=0)[:, 1], (x.shape[0], -1)
    ),
    "channels one by one": lambda xp, x: xp.stack(
        [(x[..., n] - 0.5) / (n + 1.0) for n in range(3)], axis=-1
    ),
    "rows one by one": lambda xp, x: xp.stack([x[:, n] * (n + 2.0) for n in range(4)], axis=1),
    "channels in another order": lambda xp, x: xp.stack(
        [x[..., n] * (n + 2.0) for n in (0, 2, 1)], axis=-1
    ),
    "some channels": lambda xp, x: xp.stack([x[..., n] * (n + 2.0) for n in (0, 1)], axis=-1),
    "channels side by side": lambda xp, x: xp.stack([x[..., n] * 2.0 for n in range(3)], axis=1),
    "channels, each its own": lambda xp, x: xp.stack(
        [x[..., 0] * 2.0, x[..., 1] + 2.0, x[..., 2] * 2.0], axis=-1
    ),
    "permuted": lambda xp, x: xp.permute_dims(x, (0, 3, 1, 2)),
    "permuted twice": lambda xp, x: xp.permute_dims(xp.permute_dims(x, (0, 3, 1, 2)), (0, 2, 1, 3)),
    "permuted and back": lambda xp, x: xp.permute_dims(
        xp.permute_dims(x, (1, 2, 3, 0)) * 2.0, (3, 0, 1, 2)
    ),
    "reshaped": lambda xp, x: xp.reshape(x, (-1, 12, 4)),
    "pixels of all images": lambda xp, x: xp.reshape(
        xp.matmul(xp.reshape(x, (-1, 3)), table(xp, 3, 2)), (x.shape[0], -1, 2)
    ),
    "rows times a table": lambda xp, x: xp.matmul(xp.tanh(rows(xp, x)), table(xp, 48, 2)),
    "products of images": gram,
    "repeated": lambda xp, x: xp.broadcast_to(x[:, :1], x.shape),
    "repeated and used": lambda xp, x: xp.broadcast_to(x[:, :1], x.shape) * x,
    "a repeated table": lambda xp, x: xp.broadcast_to(table(xp, 3), x.shape) + 0.0,
    "taken": lambda xp, x: xp.take(x, xp.asarray([2, 0, 1, 1]), axis=3),
    "taken in two axes": lambda xp, x: xp.take(x, xp.asarray([[2, 0], [1, 1]]), axis=1),
    "taken at bytes": lambda xp, x: xp.take(
        table(xp, 10, 2), xp.astype(xp.clip(xp.abs(x) * 5.0, 0.0, 9.0), xp.uint8), axis=0
    ),
    "padded": lambda xp, x: pad(x, ((0, 0), (1, 2), (0, 0), (3, 0)), constant_values=-2.5),
    "padded ints": lambda xp, x: floats(xp, pad(ints(xp, x), ((0, 0), (0, 1), (2, 0), (0, 0)))),
    "added in place": lambda xp, x: at(x + 0.0)[:, 1:3, ::2, :].add(x[:, 1:3, ::2, :]),
    "set in place": lambda xp, x: at(x + 0.0)[:, 0, ...].set(x[:, 1, ...]),
    "set to a number": lambda xp, x: at(x + 0.0)[:, 0, 1, :].set(7.0),
    "set to what is repeated": lambda xp, x: at(x + 0.0)[..., 0].set(x[:, :1, :1, 1]),
    "set from behind": lambda xp, x: at(x + 0.0)[:, ::-2, :, 1:].set(x[:, :2, :, 1:] * 2.0),
    "set apart": lambda xp, x: at(xp.zeros((x.shape[0], 9, 12, 3), dtype=x.dtype))[
        :, 1::2, ::3, :
    ].set(x),
    "set at a new axis": lambda xp, x: at(x + 0.0)[:, None, 0].set(x[:, 1:2]),
    "set nowhere": lambda xp, x: at(x + 0.0)[:, 0:0].set(1.0),
    "set everywhere": lambda xp, x: at(x + 0.0)[...].set(1.0),
    "counted": lambda xp, x: x + floats(xp, xp.arange(4))[:, None],
    "as many as images": lambda xp, x: x * float(x.shape[0]),
}


def larger(xp, x, share):
    """Twice the rows, ``share`` of the way to their neighbours, written as `Upsample2d` is."""
    wide = xp.concat([x[:, 0:1, ...], x, x[:, 3:4, ...]], axis=1)
    pixels = []
    for start, part in ((0, 1.0 - share), (1, share)):
        before, after = wide[:, start : start + 4, ...], wide[:, start + 1 : start + 5, ...]
        pixels.append((1.0 - part) * before + part * after)
    return xp.reshape(xp.stack(pixels, axis=2), (x.shape[0], 8, 4, 3))


LARGER = {
    "every row twice": lambda xp, x: xp.reshape(xp.stack([x, x], axis=2), (x.shape[0], 8, 4, 3)),
    "every column thrice": lambda xp, x: xp.reshape(
        xp.stack([x] * 3, axis=3), (x.shape[0], 4, 12, 3)
    ),
    "every channel twice": lambda xp, x: xp.reshape(
        xp.stack([x, x], axis=4), (x.shape[0], 4, 4, 6)
    ),
    "rows, and rows again": lambda xp, x: xp.stack([x, x, x * 1.5], axis=2),
    "rows between": lambda xp, x: larger(xp, x, 0.25),
    "rows at other places between": lambda xp, x: larger(xp, x, 0.3),
}
MOVES |= LARGER
FUNCTIONS = {**POINTWISE, **REDUCTIONS, **MOVES}


def normal(xp, x, over, of, epsilon=1e-2):
    """Less the mean over some axes, over the deviation of others."""
    centred = x - xp.mean(x, axis=over, keepdims=True)
    variance = xp.mean(centred * centred, axis=of, keepdims=True)
    return centred * (1.0 / xp.sqrt(variance + epsilon))


MORE_NORMS = {
    "a norm of rows": lambda xp, x: normal(xp, rows(xp, x), 1, 1),
    "a norm of images": lambda xp, x: normal(xp, x, (1, 2, 3), (1, 2, 3)),
    "a norm of columns": lambda xp, x: normal(xp, x, 1, 1),
    "a norm over the batch": lambda xp, x: normal(xp, x, (0, 1), (0, 1), 0.5),
}
MOVES |= MORE_NORMS
FUNCTIONS |= MORE_NORMS

# What ONNX has as one operation, and what looks like it.
PATTERNS = {
    "Relu": lambda xp, x: xp.maximum(0.0, x),
    "LeakyRelu": lambda xp, x: xp.where(x > 0.0, x, x * 0.3),
    "Elu": lambda xp, x: xp.where(x > 0.0, x, 0.3 * xp.expm1(xp.minimum(x, 0.0))),
    "Sigmoid": lambda xp, x: 1.0 / (xp.exp(-x) + 1.0),
    "HardSigmoid": lambda xp, x: xp.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "HardSwish": lambda xp, x: (xp.clip(x + 3.0, 0.0, 6.0) / 6.0) * x,
    "ReduceMean": lambda xp, x: xp.sum(x, axis=(1, 3)) / 12.0,
    "InstanceNormalization": lambda xp, x: normal(xp, x, (1, 2), (1, 2)),
}
TRAPS = {
    "Relu": lambda xp, x: xp.maximum(x, 0.5),
    "LeakyRelu": lambda xp, x: xp.where(x > 0.0, x, (x + 1.0) * 0.3),
    "Elu": lambda xp, x: xp.where(x > 0.0, x, 0.3 * xp.expm1(xp.minimum(x, 0.1))),
    "Sigmoid": lambda xp, x: 1.0 / (xp.exp(x) + 1.0),
    "HardSigmoid": lambda xp, x: xp.clip(x + 3.0, 0.0, 5.0) / 6.0,
    "HardSwish": lambda xp, x: xp.clip(x + 3.0, 0.0, 6.0) / 6.0 * (x + 0.1),
    "ReduceMean": lambda xp, x: xp.sum(x, axis=(1, 3)) / 11.0,
    "InstanceNormalization": lambda xp, x: normal(xp, x, (1, 2), (1, 2, 3)),
}


def _winners(ops, x):
    y, winners = ops.max_pool2d(x, Window((2, 2)), "first")
    return y + floats(array_namespace(y), winners)


def _as_kernel(x, *shape):
    """Numbers of the images themselves, as the weights of something."""
    xp = array_namespace(x)
    numbers = xp.reshape(xp.tanh(xp.sum(x, axis=0)), (-1,))
    return xp.reshape(numbers[: math.prod(shape)], shape)


def _columns(x, count):
    """Columns for windows of 2x2, as if someone had computed them."""
    xp = array_namespace(x)
    return xp.reshape(
        xp.stack([xp.tanh(x * float(n)) for n in range(count)], axis=4), (-1, 3 * count)
    )


_APART = Window((2, 2), dilation=(2, 1))
KERNELS = {
    "pools of pixels apart": lambda ops, x: (
        ops.avg_pool2d(x, _APART) + ops.max_pool2d(x, _APART, "first")[0]
    ),
    "places in a pool": _winners,
    "a pool of ints": lambda ops, x: floats(
        array_namespace(x), ops.max_pool2d(ints(array_namespace(x), x), Window((2, 2)), "all")[0]
    ),
    "filters of the images": lambda ops, x: ops.conv2d(
        ops, x, _as_kernel(x, 2, 2, 3, 2), None, Window((2, 2))
    ),
    "groups of filters of the images": lambda ops, x: ops.grouped_conv2d(
        ops, x, _as_kernel(x, 2, 2, 1, 3), _as_kernel(x, 3), Window((2, 2))
    ),
    "rows times a table of the images": lambda ops, x: ops.dense(
        ops, x[:, 0, 0, :], _as_kernel(x, 3, 2), _as_kernel(x, 2)
    ),
    "columns added up": lambda ops, x: ops.col2im(
        _columns(x, 4), (x.shape[0], 5, 5, 3), Window((2, 2))
    ),
    "columns added up, and a table for the whole image": lambda ops, x: (
        ops.col2im(_columns(x, 4), (x.shape[0], 5, 5, 3), Window((2, 2)))
        + table(array_namespace(x), 5, 1, 3)
    ),
    "columns added up apart": lambda ops, x: ops.col2im(
        ops.matmul(_columns(x, 2), _as_kernel(x, 6, 8)),
        (x.shape[0], 9, 5, 2),
        Window((2, 2), (2, 1), (0, 1, 1, 0), (2, 2)),
    ),
    "a norm of the batch": lambda ops, x: ops.batch_norm(
        x, x[0, 0, 0, :], x[0, 0, 1, :], (x[0, 1, 0, :], x[0, 1, 1, :]), 0.1, 1e-2, True
    )[0],
    "softmax of doubles": lambda ops, x: floats(
        array_namespace(x), ops.softmax(doubles(array_namespace(x), x))
    ),
}

# What hangs on how many images there are, in ways that no graph of any number holds.
OF_A_BATCH = {
    "a slice from the number of images": lambda xp, x: xp.concat([x, x])[x.shape[0] :],
    "all images but one": lambda xp, x: xp.sum(x[1:], axis=0) + x,
    "half of them": lambda xp, x: x + xp.sum(x[: (x.shape[0] + 1) // 2], axis=0),
    "a square": lambda xp, x: x * float(x.shape[0] ** 2),
    "a table of them": lambda xp, x: x * xp.asarray(np.ones((x.shape[0], 1, 1, 1), np.float32)),
    "a number in an array": lambda xp, x: x * xp.astype(xp.arange(x.shape[0]), x.dtype)[0],
    "another function of one": lambda xp, x: x * 2.0 if x.shape[0] == 1 else x * 3.0,
    "more functions of several": lambda xp, x: x if x.shape[0] == 1 else x * 3.0,
    "another value": lambda xp, x: (x, xp.exp(x))[x.shape[0] > 1],
}
