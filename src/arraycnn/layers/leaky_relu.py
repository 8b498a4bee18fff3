"""LeakyReLU: negative numbers become small."""

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
class LeakyReLU(Activation):
    """x above 0, else slope * x, of any shape; its gradient at 0 is the slope.

    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.

    Parameters
    ----------
    slope : float
        Finite.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        check_number("LeakyReLU: slope", self.slope)
        if not math.isfinite(self.slope):
            message = f"LeakyReLU: slope must be finite, got {self.slope!r}"
            raise InvalidValueError(message)

    def function(self, xp: Any, x: Array) -> Array:
        return xp.where(x > 0.0, x, self.slope * x)

    def derivative(self, xp: Any, x: Array) -> Array:
        return xp.where(x > 0.0, xp.ones_like(x), self.slope)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"nn.LeakyReLU({self.slope})")
