"""Activation: what every function of single numbers has in common."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from arraycnn.layers.layer import Context, Shape, Tree, check_floating
from arraycnn.ops import Array, array_namespace


class Activation(ABC):
    """A layer that treats each number alone; a subclass gives its `function` and its `derivative`.

    A subclass is a frozen dataclass, too. It takes arrays of any shape, floating, and has neither
    parameters nor state.
    """

    any_order: ClassVar[bool] = True

    @abstractmethod
    def function(self, xp: Any, x: Array) -> Array:
        """The activation of each number, in functions of the array namespace ``xp`` alone."""

    @abstractmethod
    def derivative(self, xp: Any, x: Array) -> Array:
        """The derivative of `function` at each number."""

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_floating(type(self).__name__, x)
        return self.function(array_namespace(x), x), state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (x,) = residuals
        return dy * self.derivative(array_namespace(x), x), {}
