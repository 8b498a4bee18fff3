"""Launch code of random_bits.cu. Contracts in `arraycnn.ops.random_bits` and `.generic`."""

import math
from typing import Any

import numpy as np

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape, of_dtype
from arraycnn.ops.cuda.launcher import Launcher, Size, blocks, c_name
from arraycnn.ops.generic import dropout_threshold
from arraycnn.ops.relu.cuda import PER_BLOCK, THREADS

_MOST_WANTED = 4096  # blocks: enough for every processor; they go through the images in turn


def random_bits(
    launcher: Launcher, seed: Array, step: Array, layer: int, indices: Array, count: int
) -> Array:
    seed, step, indices = _key(launcher, "random_bits", seed, step, indices)
    words = launcher.empty((indices.size, count), "int32")
    launcher.launch(
        "random_bits",
        "random_bits",
        _grid(indices.size, count),
        (THREADS,),
        (seed, step, layer, indices, words, indices.size, count),
    )
    return words


def dropout(
    launcher: Launcher,
    ops: Any,
    x: Array,
    rate: float,
    seed: Array,
    step: Array,
    layer: int,
    indices: Array,
) -> tuple[Array, Array]:
    (x,) = launcher.floating("dropout", x)
    seed, step, indices = _key(launcher, "dropout", seed, step, indices)
    check_shape("dropout: indices", indices, x.shape[:1])
    y, keep = launcher.empty(x.shape, x.dtype), launcher.empty(x.shape, "bool")
    images, count = indices.size, math.prod(x.shape[1:])
    launcher.launch(
        "random_bits",
        f"dropout<{c_name(x)}>",
        _grid(images, count),
        (THREADS,),
        (
            *(x, y, keep, seed, step, layer, indices, images, count),
            *(dropout_threshold(rate), _kept(rate, x)),
        ),
    )
    return y, keep


def dropout_backward(launcher: Launcher, dy: Array, keep: Array, rate: float) -> Array:
    (dy,) = launcher.floating("dropout_backward", dy)
    (keep,) = of_dtype(launcher, "dropout_backward", ("bool",), keep)
    check_shape("dropout_backward: keep", keep, dy.shape)
    dx = launcher.empty(dy.shape, dy.dtype)
    launcher.launch(
        "random_bits",
        f"dropout_backward<{c_name(dy)}>",
        (blocks(dx.size, PER_BLOCK),),
        (THREADS,),
        (dy, keep, dx, dx.size, _kept(rate, dy)),
    )
    return dx


def _key(
    launcher: Launcher, owner: str, seed: Array, step: Array, indices: Array
) -> tuple[Array, ...]:
    seed, step, indices = of_dtype(launcher, owner, ("int32",), seed, step, indices)
    check_shape(f"{owner}: seed", seed, (2,))
    check_shape(f"{owner}: step", step, (1,))
    check_shape(f"{owner}: indices", indices, (indices.size,))
    return seed, step, indices


def _grid(images: int, count: int) -> Size:
    wide = blocks(blocks(count, 2), THREADS)  # a thread has two words of each image
    return wide, min(images, max(1, _MOST_WANTED // max(wide, 1)))


def _kept(rate: float, x: Array) -> Any:
    """The share of numbers that stay, as a kernel takes it beside ``x``."""
    return np.dtype(str(x.dtype)).type(1.0 - rate)
