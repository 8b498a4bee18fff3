"""GELUTanh: the Gaussian error linear unit, by a hyperbolic tangent."""

import math
from dataclasses import dataclass
from typing import Any

from arraycnn.layers.activation import Activation
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array

_SCALE, _CUBE = math.sqrt(2.0 / math.pi), 0.044715


@dataclass(frozen=True)
class GELUTanh(Activation):
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), of any shape.

    The tanh form of Hendrycks and Gimpel, "Gaussian error linear units", 2016, within 0.0005 of
    their x * Phi(x): PyTorch's ``GELU(approximate="tanh")``, not its ``GELU()``, whose error function
    the array-API standard does not have.
    """

    def function(self, xp: Any, x: Array) -> Array:
        return 0.5 * x * (1.0 + self._tanh(xp, x))

    def derivative(self, xp: Any, x: Array) -> Array:
        t = self._tanh(xp, x)
        inner = _SCALE * (1.0 + 3.0 * _CUBE * (x * x))
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner

    def _tanh(self, xp: Any, x: Array) -> Array:
        return xp.tanh(_SCALE * (x + _CUBE * (x * x * x)))

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule('nn.GELU(approximate="tanh")')
