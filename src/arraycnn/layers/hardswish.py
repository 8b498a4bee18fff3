"""Hardswish: SiLU without its exponential."""

from dataclasses import dataclass
from typing import Any

from arraycnn.layers.activation import Activation
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array


@dataclass(frozen=True)
class Hardswish(Activation):
    """x * min(max(x + 3, 0), 6) / 6, of any shape: Howard et al., "MobileNetV3", 2019."""

    def function(self, xp: Any, x: Array) -> Array:
        return x * (_ramp(xp, x) / 6.0)

    def derivative(self, xp: Any, x: Array) -> Array:
        inside = xp.where(xp.abs(x) < 3.0, x, 0.0)
        return (_ramp(xp, x) + inside) / 6.0

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.Hardswish()")


def _ramp(xp: Any, x: Array) -> Array:
    """0 up to -3, 6 from 3 on, and straight between."""
    return xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0)
