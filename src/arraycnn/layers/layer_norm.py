"""LayerNorm: the channels of each pixel get mean 0 and variance 1, then a scale and a shift."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_floating, with_n
from arraycnn.ops import Array, array_namespace
from arraycnn.setting_checks import check_number

_TORCH = '''
class LayerNorm2d(nn.LayerNorm):
    """Of images: over the channels of each pixel."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
'''


@dataclass(frozen=True)
class LayerNorm:
    """Normalise over the last axis, of rows or of the channels of each pixel: any shape, kept.

    Ba, Kiros and Hinton, "Layer normalization", 2016, as ConvNeXt has it; over whole images that is
    ``GroupNorm(1)``. No batch is in it: training and inference are the same.

    Parameters
    ----------
    epsilon : float
        Added to the variance before the square root, above 0.

    The parameters are ``weight`` (scale, one at first) and ``bias`` (shift, zero), both (C,).
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_number("LayerNorm: epsilon", self.epsilon)
        if not 0.0 < self.epsilon < float("inf"):
            message = f"LayerNorm: epsilon must be above 0 and finite, got {self.epsilon!r}"
            raise InvalidValueError(message)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        if not input_shape:
            message = f"LayerNorm: input must have a last axis, got {with_n(input_shape)}"
            raise InvalidValueError(message)
        channels = input_shape[-1]
        return {"weight": np.ones(channels), "bias": np.zeros(channels)}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_floating("LayerNorm", x)
        channels = params["weight"].shape[0]
        if x.shape[-1] != channels:
            message = f"LayerNorm: the last axis must be {channels}, got shape {tuple(x.shape)}"
            raise InvalidValueError(message)
        xp = array_namespace(x)
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        inverse_deviation = 1.0 / xp.sqrt(variance + self.epsilon)
        normal = centred * inverse_deviation
        return normal * params["weight"] + params["bias"], state, (normal, inverse_deviation)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        normal, inverse_deviation = residuals
        xp, others = array_namespace(dy), tuple(range(len(dy.shape) - 1))
        gradients = {"weight": xp.sum(dy * normal, axis=others), "bias": xp.sum(dy, axis=others)}
        if not need_dx:
            return None, gradients
        # Mean and variance depend on every x: the two projections of the gradient.
        part = dy * params["weight"]
        mean = xp.mean(part, axis=-1, keepdims=True)
        share = xp.mean(part * normal, axis=-1, keepdims=True)
        return inverse_deviation * (part - mean - normal * share), gradients

    def torch_module(self, input_shape: Shape) -> TorchModule:
        settings = f"({input_shape[-1]}, eps={self.epsilon})"
        if len(input_shape) == 3:
            return TorchModule(f"LayerNorm2d{settings}", source=_TORCH)
        return TorchModule(f"nn.LayerNorm{settings}")
