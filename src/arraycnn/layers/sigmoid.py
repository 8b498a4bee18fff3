"""Sigmoid: numbers become shares between 0 and 1."""

from dataclasses import dataclass
from typing import Any

from arraycnn.layers.activation import Activation
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x)), of any shape.

    A network for several labels does not end with this: the loss applies it to logits itself.
    """

    def function(self, xp: Any, x: Array) -> Array:
        return sigmoid(xp, x)

    def derivative(self, xp: Any, x: Array) -> Array:
        s = sigmoid(xp, x)
        return s * (1.0 - s)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.Sigmoid()")


def sigmoid(xp: Any, x: Array) -> Array:
    """The logistic function of each number."""
    # The exponential of no positive number: none overflows, and small results keep their digits.
    shrunk = xp.exp(-xp.abs(x))
    return xp.where(x >= 0.0, 1.0, shrunk) / (1.0 + shrunk)
