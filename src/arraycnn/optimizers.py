"""Optimizers: frozen records of settings with a pure update.

``init(params)`` gives the state, a tree of arrays; ``update(ops, params, gradients, state,
learning_rate)`` gives new parameters and state. Whatever changes from step to step is an array.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import Array, Kernels
from arraycnn.schedules import Constant, Schedule, check_learning_rate
from arraycnn.settings import check_number
from arraycnn.tree import Tree, flatten, leaves, with_leaves


class Optimizer(Protocol):
    """What the plans need of an optimizer."""

    @property
    def learning_rate(self) -> float | Schedule: ...

    def init(self, params: Tree) -> Tree:
        """The state before the first step, float64 NumPy arrays, for params of any library."""

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        """New params and state; ``learning_rate`` is an array, ()."""


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with PyTorch's definition of momentum.

    Parameters
    ----------
    learning_rate : float or Schedule
    momentum : float
        In [0, 1); 0 keeps no velocity.
    nesterov : bool
        Look ahead along the velocity (Sutskever et al., 2013); needs momentum.
    weight_decay : float
        Times the parameter, added to its gradient.
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_rate("SGD", self.learning_rate)
        _check_share("SGD", "momentum", self.momentum)
        check_number("SGD: weight_decay", self.weight_decay, minimum=0.0)
        if not isinstance(self.nesterov, bool):
            message = f"SGD: nesterov must be a bool, got {self.nesterov!r}"
            raise InvalidTypeError(message)
        if self.nesterov and not self.momentum:
            message = "SGD: nesterov needs momentum above 0, got 0; set momentum=0.9"
            raise InvalidValueError(message)

    def init(self, params: Tree) -> Tree:
        return {"velocity": _zeros_like(params)} if self.momentum else {}

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        moved, velocities = ops.sgd_update(
            leaves(params),
            _leaves_as(params, gradients),
            _leaves_as(params, state["velocity"]) if self.momentum else [],
            learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
        new_state = {"velocity": with_leaves(params, velocities)} if self.momentum else {}
        return with_leaves(params, moved), new_state


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015): steps scaled by running moments of the gradient.

    Parameters
    ----------
    learning_rate : float or Schedule
    betas : (float, float)
        Decay of the first and the second moment, each in [0, 1).
    epsilon : float
        Added to the root of the second moment.
    weight_decay : float
        Times the parameter, added to its gradient (see `AdamW` for the decoupled form).
    """

    learning_rate: float | Schedule = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    decoupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        _check_rate(name, self.learning_rate)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            message = f"{name}: betas must be a pair of numbers, got {self.betas!r}"
            raise InvalidTypeError(message)
        for beta in self.betas:
            _check_share(name, "betas", beta)
        check_number(f"{name}: epsilon", self.epsilon, minimum=0.0)
        check_number(f"{name}: weight_decay", self.weight_decay, minimum=0.0)

    def init(self, params: Tree) -> Tree:
        return {
            "first_moment": _zeros_like(params),
            "second_moment": _zeros_like(params),
            "decays": {"first": np.ones(()), "second": np.ones(())},
        }

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        moved, first, second, decays = ops.adam_update(
            leaves(params),
            _leaves_as(params, gradients),
            _leaves_as(params, state["first_moment"]),
            _leaves_as(params, state["second_moment"]),
            (state["decays"]["first"], state["decays"]["second"]),
            learning_rate,
            betas=self.betas,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
            decoupled=self.decoupled,
        )
        return with_leaves(params, moved), {
            "first_moment": with_leaves(params, first),
            "second_moment": with_leaves(params, second),
            "decays": {"first": decays[0], "second": decays[1]},
        }


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): p -= rate * decay * p."""

    weight_decay: float = 0.01

    decoupled: ClassVar[bool] = True


def learning_rates(optimizer: Optimizer, first: int, count: int, total: int) -> np.ndarray:
    """The learning rates of steps ``first`` to ``first + count`` of ``total``: (count,), float64.

    Raises InvalidValueError where a schedule gives a rate that is negative or not finite.
    """
    rate = optimizer.learning_rate
    schedule = Constant(rate) if isinstance(rate, int | float) else rate
    table = np.array([schedule(step, total) for step in range(first, first + count)], dtype=float)
    if not (np.isfinite(table).all() and (table >= 0.0).all()):
        place = first + int(np.argmax(~(np.isfinite(table) & (table >= 0.0))))
        message = (
            f"{type(optimizer).__name__}: the schedule must give finite rates of at least 0, "
            f"got {float(table[place - first])!r} at step {place}"
        )
        raise InvalidValueError(message)
    return table


def _leaves_as(params: Tree, tree: Tree) -> list[Array]:
    """The arrays of ``tree`` in the order of ``params``: a jit may return a dict reordered."""
    arrays = flatten(tree)
    return [arrays[name] for name in flatten(params)]


def _zeros_like(params: Tree) -> Tree:
    return with_leaves(params, [np.zeros(tuple(leaf.shape)) for leaf in leaves(params)])


def _check_rate(owner: str, rate: float | Schedule) -> None:
    if callable(rate):
        return
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        message = f"{owner}: learning_rate must be a number or a schedule, got {rate!r}"
        raise InvalidTypeError(message)
    check_learning_rate(owner, rate)


def _check_share(owner: str, name: str, value: float) -> None:
    check_number(f"{owner}: {name}", value, minimum=0.0)
    if value >= 1.0:
        message = f"{owner}: {name} must be below 1, got {value!r}"
        raise InvalidValueError(message)
