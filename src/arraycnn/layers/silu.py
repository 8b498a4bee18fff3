"""SiLU: each number times its sigmoid."""

from dataclasses import dataclass
from typing import Any

from arraycnn.layers.activation import Activation
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape
from arraycnn.layers.sigmoid import sigmoid
from arraycnn.ops import Array


@dataclass(frozen=True)
class SiLU(Activation):
    """x * sigmoid(x), of any shape: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units", 2017.

    Also called swish, with its factor at 1.
    """

    def function(self, xp: Any, x: Array) -> Array:
        return x * sigmoid(xp, x)

    def derivative(self, xp: Any, x: Array) -> Array:
        s = sigmoid(xp, x)
        return s + x * s * (1.0 - s)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.SiLU()")
