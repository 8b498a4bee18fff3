"""The optimizers' updates, block by block, so that what a block needs stays in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.plain.launcher import MOST_TASKS, NUMBER, Launcher
from arraycnn.ops.plain.products import Product
from arraycnn.ops.plain.tasks import cut, groups

_BLOCK = 2**16
"""Numbers in a block."""


def sgd_update(
    launcher: Launcher, parameters: list[np.ndarray], gradients: list[np.ndarray | Product],
    velocities: list[np.ndarray], learning_rate: Any, *, momentum: float, nesterov: bool,
    weight_decay: float, in_place: bool = False,
) -> tuple[list[np.ndarray], list[np.ndarray]]:  # fmt: skip
    """See `arraycnn.ops.generic.sgd_update`."""
    call = launcher.call
    changed = [parameters, velocities] if momentum else [parameters]

    def update(tensor: int, g: np.ndarray, olds: list[np.ndarray], news: list[np.ndarray]) -> None:
        room = launcher.scratch(g.shape, g.dtype)
        if weight_decay:
            decayed = launcher.scratch(g.shape, g.dtype)
            call(np.multiply, olds[0], weight_decay, out=decayed)
            call(np.add, g, decayed, out=decayed)
            g = decayed
        direction = g
        if momentum:
            call(np.multiply, olds[1], momentum, out=room)
            call(np.add, room, g, out=news[1])
            direction = news[1]
            if nesterov:
                call(np.multiply, news[1], momentum, out=room)
                call(np.add, g, room, out=room)
                direction = room
        if not scaled[tensor]:
            call(np.multiply, direction, rate, out=room)
            direction = room
        call(np.subtract, olds[0], direction, out=news[0])

    rate = _rate(learning_rate, parameters)
    # Where nothing is added to a product, one of its factors has fewer numbers to be scaled.
    scaled = [isinstance(g, Product) and not (momentum or weight_decay) for g in gradients]
    gradients = [
        g.times(launcher, rate) if isinstance(g, Product) and early else g
        for g, early in zip(gradients, scaled, strict=True)
    ]
    news = _by_blocks(launcher, "sgd_update", changed, gradients, update, in_place)
    return news[0], news[1] if momentum else velocities


def adam_update(
    launcher: Launcher, parameters: list[np.ndarray], gradients: list[np.ndarray | Product],
    first_moments: list[np.ndarray], second_moments: list[np.ndarray], decays: tuple[Any, Any],
    learning_rate: Any, *, betas: tuple[float, float], epsilon: float, weight_decay: float,
    decoupled: bool, in_place: bool = False,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], tuple[Any, Any]]:  # fmt: skip
    """See `arraycnn.ops.generic.adam_update`."""
    call, empty = launcher.call, launcher.empty
    rate = _rate(learning_rate, parameters)
    dtype = rate.dtype
    old_decays = [np.asarray(decay, dtype) for decay in decays]
    new_decays = old_decays if in_place else [empty((), dtype) for _ in decays]
    step_size, root_correction, shrinkage = (empty((), dtype) for _ in range(3))
    for old, new, beta in zip(old_decays, new_decays, betas, strict=True):
        call(np.multiply, old, beta, out=new)
    call(np.subtract, 1.0, new_decays[0], out=step_size)
    call(np.divide, rate, step_size, out=step_size)
    call(np.subtract, 1.0, new_decays[1], out=root_correction)
    call(np.sqrt, root_correction, out=root_correction)
    call(np.multiply, rate, weight_decay, out=shrinkage)

    def update(tensor: int, g: np.ndarray, olds: list[np.ndarray], news: list[np.ndarray]) -> None:
        room, other = (launcher.scratch(g.shape, g.dtype) for _ in range(2))
        p, (beta1, beta2) = olds[0], betas
        if weight_decay and not decoupled:
            decayed = launcher.scratch(g.shape, g.dtype)
            call(np.multiply, p, weight_decay, out=decayed)
            call(np.add, g, decayed, out=decayed)
            g = decayed
        call(np.multiply, olds[1], beta1, out=room)
        call(np.multiply, g, 1.0 - beta1, out=other)
        call(np.add, room, other, out=news[1])
        call(np.multiply, g, g, out=other)
        call(np.multiply, other, 1.0 - beta2, out=other)
        call(np.multiply, olds[2], beta2, out=room)
        call(np.add, room, other, out=news[2])
        call(np.sqrt, news[2], out=room)
        call(np.divide, room, root_correction, out=room)
        call(np.add, room, epsilon, out=room)
        call(np.divide, news[1], room, out=room)
        call(np.multiply, room, step_size, out=room)
        if weight_decay and decoupled:
            call(np.multiply, p, shrinkage, out=other)
            call(np.subtract, p, other, out=other)
            p = other
        call(np.subtract, p, room, out=news[0])

    changed = [parameters, first_moments, second_moments]
    news = _by_blocks(launcher, "adam_update", changed, gradients, update, in_place)
    return news[0], news[1], news[2], (new_decays[0], new_decays[1])


def _rate(learning_rate: Any, parameters: list[np.ndarray]) -> np.ndarray:
    return np.asarray(learning_rate, parameters[0].dtype if parameters else None)


def _by_blocks(
    launcher: Launcher, owner: str, changed: list[list[np.ndarray]],
    gradients: list[np.ndarray | Product],
    update: Callable[[int, np.ndarray, list[np.ndarray], list[np.ndarray]], None], in_place: bool,
) -> list[list[np.ndarray]]:  # fmt: skip
    """Run an elementwise ``update(tensor, gradient, olds, news)`` on all blocks: the new tensors."""
    # What NumPy makes of an array without axes is a number.
    gradients = [np.asarray(g) if isinstance(g, np.generic) else g for g in gradients]
    check_arrays(owner, *(array for tensors in changed for array in tensors))
    if in_place and not all(array.flags.c_contiguous for tensors in changed for array in tensors):
        message = f"{owner}: what is changed in place must lie in C order; copy it first"
        raise InvalidValueError(message)
    olds = [[launcher.contiguous(array) for array in tensors] for tensors in changed]
    news = olds
    if not in_place:
        news = [[launcher.empty(old.shape, old.dtype) for old in tensors] for tensors in olds]
    found = [_Gradient(launcher, owner, gradient) for gradient in gradients]
    blocks = [(place, part) for place, gradient in enumerate(found) for part in gradient.blocks()]
    old_rows, new_rows = ([_flat(tensors) for tensors in many] for many in (olds, news))

    def task(number: int, place: int, part: slice) -> None:
        for tensor, block in blocks[part]:
            with launcher.passing():
                update(
                    tensor,
                    found[tensor].numbers(block),
                    [rows[tensor][block] for rows in old_rows],
                    [rows[tensor][block] for rows in new_rows],
                )

    work = NUMBER * sum(array.size for tensors in olds for array in tensors)
    launcher.share(groups(len(blocks), max(1, len(blocks) // MOST_TASKS)), task, work)
    return news


class _Gradient:
    """A gradient, all of whose numbers are asked for block by block."""

    def __init__(self, launcher: Launcher, owner: str, gradient: np.ndarray | Product) -> None:
        self._launcher = launcher
        self._product = gradient if isinstance(gradient, Product) else None
        self._columns = 1
        if isinstance(gradient, Product):
            self._columns = gradient.b.shape[1]
            self._size, self._dtype = len(gradient.a) * self._columns, gradient.b.dtype
        else:
            check_arrays(owner, gradient)
            self._numbers = launcher.contiguous(gradient).reshape(-1)
            self._size = gradient.size

    def blocks(self) -> list[slice]:
        """All of it, in slices of whole rows."""
        rows = self._size // self._columns
        parts = cut(rows, -(-rows // max(1, _BLOCK // self._columns)))
        return [slice(part.start * self._columns, part.stop * self._columns) for part in parts]

    def numbers(self, block: slice) -> np.ndarray:
        """One of these slices, in a task."""
        if self._product is None:
            return self._numbers[block]
        rows = slice(block.start // self._columns, block.stop // self._columns)
        shape = (rows.stop - rows.start, self._columns)
        out = self._launcher.scratch(shape, self._dtype)
        self._product.write(self._launcher, rows, out)
        return out.reshape(-1)


def _flat(tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [tensor.reshape(-1) for tensor in tensors]
