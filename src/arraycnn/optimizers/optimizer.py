"""What an optimizer is, and what every one is made with."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError, one_line
from arraycnn.ops import Array, Kernels
from arraycnn.optimizers.schedules import (
    Schedule,
    check_length,
    check_rate,
    goes_by_records,
    known_after,
)
from arraycnn.setting_checks import check_number
from arraycnn.tree import Tree, leaves, part_of, with_leaves


class Optimizer(Protocol):
    """What the plans need of an optimizer."""

    @property
    def learning_rate(self) -> float | Schedule: ...

    def init(self, params: Tree) -> Tree:
        """The state before the first step, for params of any library.

        Float64 NumPy arrays, or arrays of ``params`` themselves. What lies under
        `arraycnn.optimizers.evaluated.EVALUATED` is evaluated instead of the parameters.
        """

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        """New params and state; ``learning_rate`` is an array, ()."""


def learning_rates(
    optimizer: Optimizer,
    first: int,
    count: int,
    total: int,
    records: Sequence[Any] = (),
    steps: int = 1,
) -> np.ndarray:
    """The learning rates of steps ``first`` to ``first + count`` of ``total``: (count,), float64.

    ``records`` are those of the epochs done, of ``steps`` steps each.

    Raises InvalidValueError where a schedule gives a rate that is negative or not finite,
    InvalidTypeError where it gives no number.
    """
    schedule = known_after(optimizer.learning_rate, records, steps)
    given: list[Any] = [schedule(step, total) for step in range(first, first + count)]
    with suppress(TypeError, ValueError, OverflowError):
        rates = np.array(given, dtype=float)
        if rates.shape == (count,) and np.logical_and.reduce((rates >= 0.0) & np.isfinite(rates)):
            return rates
    checked = [_rate_of(optimizer, one, step) for step, one in enumerate(given, first)]
    return np.array(checked, dtype=float)


def check_schedule(optimizer: Optimizer, total: int, is_resumed: bool = False) -> None:
    """Refuse what a training of ``total`` steps cannot have, before any work.

    Of the rates, those of the first step and of the last one are looked at, of the last one where it
    does not wait for records of epochs: most rates that go wrong have done so by then. A training
    that ``is_resumed`` may be too short for its schedule, as it was when it began; its rates, and
    what stands around the optimizer, are looked at all the same.

    Raises InvalidValueError and InvalidTypeError as `learning_rates`; InvalidValueError where the
    training is too short for its schedule, or for what stands around the optimizer.
    """
    rate = optimizer.learning_rate
    if callable(rate):
        schedule = known_after(rate, (), 1)
        for step in (0,) if goes_by_records(rate) else (0, total - 1):
            _rate_of(optimizer, schedule(step, total), step)
        if not is_resumed:
            check_length(rate, total)
    else:
        check_rate(type(optimizer).__name__, rate)
    check_length(optimizer, total)


def _rate_of(optimizer: Optimizer, given: Any, step: int) -> float:
    """The rate that is ``given`` for ``step``, or an error that names it."""
    owner = f"{type(optimizer).__name__}: the schedule must give"
    try:
        rate = float(given)
    except (TypeError, ValueError, OverflowError) as error:
        message = f"{owner} a number for each step, got {one_line(repr(given))} at step {step}"
        raise InvalidTypeError(message) from error
    if not math.isfinite(rate) or rate < 0.0:
        message = f"{owner} finite rates of at least 0, got {rate!r} at step {step}"
        raise InvalidValueError(message)
    return rate


def frozen_paths(optimizer: Optimizer, params: Tree) -> frozenset[str]:
    """The paths of the parameters that ``optimizer`` leaves as they are: most optimizers none."""
    tell = getattr(optimizer, "frozen_paths", None)
    return frozenset() if tell is None else tell(params)


def trained_part(optimizer: Optimizer, params: Tree) -> Tree:
    """The parameters that ``optimizer`` changes, by their paths."""
    frozen = frozen_paths(optimizer, params)
    return part_of(params, lambda path: path not in frozen)


def leaves_as(params: Tree, tree: Tree) -> list[Array]:
    """The arrays of ``tree`` in the order of ``params``: a jit may return a dict reordered."""
    found: list[Array] = []
    for name, value in params.items():
        if isinstance(value, dict):
            # A part without arrays may be left out.
            found += leaves_as(value, tree.get(name, {}))
        else:
            found.append(tree[name])
    return found


def paired(params: Tree, *trees: Tree) -> list[tuple[Array, ...]]:
    """Each parameter with its array in each of ``trees``, by name, in the order of `tree.leaves`."""
    return list(zip(leaves(params), *(leaves_as(params, tree) for tree in trees), strict=True))


def zeros_like(params: Tree) -> Tree:
    """Zeros of the names and shapes of ``params``, float64 NumPy arrays."""
    return with_leaves(params, [np.zeros(tuple(leaf.shape)) for leaf in leaves(params)])


def check_share(owner: str, name: str, value: float) -> None:
    """Refuse what is no number in [0, 1)."""
    check_number(f"{owner}: {name}", value, minimum=0.0)
    if value >= 1.0:
        message = f"{owner}: {name} must be below 1, got {value!r}"
        raise InvalidValueError(message)


def check_betas(owner: str, betas: tuple[float, float]) -> None:
    """Refuse what is no pair of numbers in [0, 1)."""
    if not isinstance(betas, tuple) or len(betas) != 2:
        message = f"{owner}: betas must be a pair of numbers, got {betas!r}"
        raise InvalidTypeError(message)
    for beta in betas:
        check_share(owner, "betas", beta)
