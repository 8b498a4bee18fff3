"""Tanh: numbers become shares between -1 and 1."""

from dataclasses import dataclass
from typing import Any

from arraycnn.layers.activation import Activation
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array


@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent, of any shape."""

    def function(self, xp: Any, x: Array) -> Array:
        return xp.tanh(x)

    def derivative(self, xp: Any, x: Array) -> Array:
        y = xp.tanh(x)
        return 1.0 - y * y

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.Tanh()")
