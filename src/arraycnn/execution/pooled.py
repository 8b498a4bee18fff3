"""Kernels for whole batches of NumPy arrays, cut into fixed pieces that run on a thread pool.

The pieces depend on the shapes alone and are added in order, so the number of threads never shows
in a bit of the result.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.ops import Kernels, Window

_PIECE_WORK = 2**24
"""Multiply-adds a piece of a product should have: handing one over costs a tenth of that."""

_MOST_PIECES = 16

TILE_BYTES = 3 * 2**20
"""What the columns of the images computed at once may take.

Half of that or twice as much is as fast: less leaves the cache in peace but makes more calls."""

_BLOCK = 2**16
"""Numbers in a block of an update: its half dozen temporary arrays stay in the cache."""


def pooled(kernels: Kernels, pool: ThreadPool) -> Kernels:
    """``kernels`` with its costly functions cut into pieces that run on ``pool``."""

    def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        (rows, inner), columns = a.shape, b.shape[1]
        parts = _parts(max(rows, inner, columns), rows * inner * columns)
        if len(parts) == 1:
            return kernels.matmul(a, b)
        if inner > max(rows, columns):
            products = pool.map(lambda n: np.matmul(a[:, parts[n]], b[parts[n]]), len(parts))
            return sum(products[1:], start=products[0])
        out = np.empty((rows, columns), np.result_type(a, b))

        def piece(number: int) -> None:
            part = parts[number]
            if rows >= columns:
                np.matmul(a[part], b, out=out[part])
            else:
                np.matmul(a, b[:, part], out=out[:, part])

        pool.map(piece, len(parts))
        return out

    def image_parts(x: np.ndarray, weight: np.ndarray, window: Window) -> list[slice]:
        outputs = x.shape[0] * math.prod(window.output_shape(x.shape[1], x.shape[2]))
        columns = outputs * math.prod(weight.shape[:3]) * x.itemsize
        by_work = min(_MOST_PIECES, outputs * weight.size // _PIECE_WORK)
        return _cut(x.shape[0], max(1, min(x.shape[0], max(by_work, columns // TILE_BYTES))))

    def conv2d(
        ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window
    ) -> np.ndarray:
        if x.shape[0] == 1:
            return kernels.conv2d(ops, x, weight, bias, window)
        parts = image_parts(x, weight, window)
        outputs = pool.map(
            lambda n: kernels.conv2d(kernels, x[parts[n]], weight, bias, window), len(parts)
        )
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def conv2d_backward(
        ops: Kernels,
        x: np.ndarray,
        weight: np.ndarray,
        dy: np.ndarray,
        window: Window,
        need_dx: bool,
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        if x.shape[0] == 1:
            return kernels.conv2d_backward(ops, x, weight, dy, window, need_dx)
        parts = image_parts(x, weight, window)
        gradients = pool.map(
            lambda n: kernels.conv2d_backward(
                kernels, x[parts[n]], weight, dy[parts[n]], window, need_dx
            ),
            len(parts),
        )
        if len(gradients) == 1:
            return gradients[0]
        dx = np.concatenate([part[0] for part in gradients]) if need_dx else None
        return dx, sum(part[1] for part in gradients), sum(part[2] for part in gradients)

    def sgd_update(
        parameters: list, gradients: list, velocities: list, learning_rate: Any, **settings: Any
    ) -> tuple[list, list]:
        def update(p: list, g: list, v: list) -> Any:
            return kernels.sgd_update(p, g, v, learning_rate, **settings)

        tensors = [parameters, gradients, velocities]
        (moved, *new), _ = _by_blocks(pool, update, tensors, 2 if velocities else 1)
        return moved, new[0] if velocities else velocities

    def adam_update(
        parameters: list,
        gradients: list,
        first_moments: list,
        second_moments: list,
        decays: tuple[Any, Any],
        learning_rate: Any,
        **settings: Any,
    ) -> tuple[list, list, list, tuple[Any, Any]]:
        def update(p: list, g: list, m: list, v: list) -> Any:
            return kernels.adam_update(p, g, m, v, decays, learning_rate, **settings)

        tensors = [parameters, gradients, first_moments, second_moments]
        (moved, first, second), (decays, *_) = _by_blocks(pool, update, tensors, 3)
        return moved, first, second, decays

    return replace(
        kernels,
        matmul=matmul,
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        sgd_update=sgd_update,
        adam_update=adam_update,
    )


def _parts(size: int, work: int) -> list[slice]:
    """``size`` rows as slices: as many as the work deserves, none shorter than 32."""
    return _cut(size, max(1, min(_MOST_PIECES, size // 32, work // _PIECE_WORK)))


def _cut(size: int, count: int) -> list[slice]:
    """``size`` rows as ``count`` slices of about one length."""
    edges = [size * number // count for number in range(count + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def _by_blocks(
    pool: ThreadPool, update: Callable[..., Any], tensors: list[list[np.ndarray]], outputs: int
) -> tuple[list[list[np.ndarray]], Any]:
    """Run an elementwise ``update`` of lists of tensors on blocks of them.

    ``update`` takes a list of blocks for each list in ``tensors`` and returns ``outputs`` such
    lists, then whatever else; so does this, with the whole tensors and one block's whatever else.
    """
    if sum(tensor.size for tensor in tensors[0]) <= _BLOCK:  # not worth waking a thread
        results = update(*tensors)
        return list(results[:outputs]), results[outputs:]
    flat = [[tensor.reshape(-1) for tensor in many] for many in tensors]
    # In C order whatever the parameters have: only so are the reshapes below views of them.
    new = [[np.empty(t.shape, t.dtype) for t in tensors[0]] for _ in range(outputs)]
    blocks = [
        (number, slice(start, min(start + _BLOCK, tensor.size)))
        for number, tensor in enumerate(flat[0])
        for start in range(0, tensor.size, _BLOCK)
    ]

    def run(place: int) -> Any:
        number, part = blocks[place]
        results = update(*[[many[number][part]] if many else [] for many in flat])
        for target, result in zip(new, results[:outputs], strict=True):
            if result:
                target[number].reshape(-1)[part] = result[0]
        return results[outputs:]

    others = pool.map(run, len(blocks))
    return new, others[0]
