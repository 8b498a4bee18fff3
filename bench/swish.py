"""An activation as a user writes it, outside the package: x * sigmoid(x)."""

from dataclasses import dataclass

from arraycnn.ops.arrays import array_namespace


@dataclass(frozen=True)
class Swish:
    """Ramachandran et al., "Searching for activation functions", 2017."""

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        gate = 1.0 / (1.0 + array_namespace(x).exp(-x))
        return x * gate, state, (x, gate)

    def backward(self, params, residuals, dy, context, need_dx):
        x, gate = residuals
        return (dy * (gate + x * gate * (1.0 - gate)) if need_dx else None), {}
