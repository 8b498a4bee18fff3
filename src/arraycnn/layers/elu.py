"""ELU: negative numbers go to a limit."""

import math
from dataclasses import dataclass
from typing import Any

from arraycnn.errors import InvalidValueError
from arraycnn.layers.activation import Activation
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array
from arraycnn.setting_checks import check_number


@dataclass(frozen=True)
class ELU(Activation):
    """x above 0, else alpha * (exp(x) - 1), of any shape; its gradient at 0 is alpha.

    Clevert, Unterthiner and Hochreiter, "Exponential linear units", 2016.

    Parameters
    ----------
    alpha : float
        The limit of very negative numbers is -alpha; finite.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number("ELU: alpha", self.alpha)
        if not math.isfinite(self.alpha):
            message = f"ELU: alpha must be finite, got {self.alpha!r}"
            raise InvalidValueError(message)

    # Both ways of a `where` are computed: the exponential is of no positive number.
    def function(self, xp: Any, x: Array) -> Array:
        return xp.where(x > 0.0, x, self.alpha * xp.expm1(xp.minimum(x, 0.0)))

    def derivative(self, xp: Any, x: Array) -> Array:
        return xp.where(x > 0.0, 1.0, self.alpha * xp.exp(xp.minimum(x, 0.0)))

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"nn.ELU({self.alpha})")
