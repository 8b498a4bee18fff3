"""BatchNorm2d: each channel gets mean 0 and variance 1, then a learned scale and shift."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.layer import (
    Context,
    Shape,
    Tree,
    check_image_shape,
    check_images,
)
from arraycnn.layers.twins import OnnxGraph, TorchModule
from arraycnn.ops import Array, array_namespace
from arraycnn.settings import check_number


@dataclass(frozen=True)
class BatchNorm2d:
    """Normalise each channel over images and pixels: (N, H, W, C) to the same shape.

    Ioffe and Szegedy, "Batch normalization", 2015. While training, the batch's own mean and
    variance are used; their running averages, kept in the state, serve in inference.

    Parameters
    ----------
    momentum : float
        The share of the new batch in the running averages, in (0, 1], as in PyTorch.
    epsilon : float
        Added to the variance before the square root, above 0.

    The parameters are ``weight`` (scale, one at first) and ``bias`` (shift, zero), both (C,); the
    state is ``mean`` and ``variance`` (unbiased), both (C,).
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_number("BatchNorm2d: momentum", self.momentum)
        check_number("BatchNorm2d: epsilon", self.epsilon)
        if not 0.0 < self.momentum <= 1.0:
            message = f"BatchNorm2d: momentum must be in (0, 1], got {self.momentum!r}"
            raise InvalidValueError(message)
        if not 0.0 < self.epsilon < float("inf"):
            message = f"BatchNorm2d: epsilon must be above 0 and finite, got {self.epsilon!r}"
            raise InvalidValueError(message)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        _, _, channels = check_image_shape("BatchNorm2d", input_shape)
        params = {"weight": np.ones(channels), "bias": np.zeros(channels)}
        state = {"mean": np.zeros(channels), "variance": np.ones(channels)}
        return params, state, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("BatchNorm2d", x, channels=params["weight"].shape[0])
        xp = array_namespace(x)
        if context.mode == "infer":
            mean, variance = state["mean"], state["variance"]
            centred = x - mean
        else:
            count = x.shape[0] * x.shape[1] * x.shape[2]
            mean = xp.mean(x, axis=(0, 1, 2))
            centred = x - mean
            variance = xp.mean(centred * centred, axis=(0, 1, 2))
            # A batch of one number has no unbiased variance; it is 0 then, like the biased one.
            unbiased = variance * (count / max(count - 1, 1))
            keep, take = 1.0 - self.momentum, self.momentum
            state = {
                "mean": keep * state["mean"] + take * mean,
                "variance": keep * state["variance"] + take * unbiased,
            }
        inverse_deviation = 1.0 / xp.sqrt(variance + self.epsilon)
        normal = centred * inverse_deviation
        return normal * params["weight"] + params["bias"], state, (normal, inverse_deviation)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        normal, inverse_deviation = residuals
        xp = array_namespace(dy)
        gradients = {
            "weight": xp.sum(dy * normal, axis=(0, 1, 2)),
            "bias": xp.sum(dy, axis=(0, 1, 2)),
        }
        if not need_dx:
            return None, gradients
        scale = params["weight"] * inverse_deviation
        if context.mode == "infer":
            return dy * scale, gradients
        # Mean and variance depend on every x: their parts of the gradient are the two projections.
        count = float(dy.shape[0] * dy.shape[1] * dy.shape[2])
        mean_part = gradients["bias"] / count
        variance_part = normal * (gradients["weight"] / count)
        return scale * (dy - mean_part - variance_part), gradients

    def onnx_nodes(self, graph: OnnxGraph, x: str) -> str:
        arrays = [graph.weight(name) for name in ("weight", "bias", "mean", "variance")]
        return graph.node("BatchNormalization", x, *arrays, epsilon=self.epsilon)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        settings = f"{input_shape[2]}, eps={self.epsilon}, momentum={self.momentum}"
        names = {"mean": "running_mean", "variance": "running_var"}
        return TorchModule(f"nn.BatchNorm2d({settings})", names=names)
