"""GroupNorm: a group of an image's channels gets mean 0 and variance 1, then a scale and a shift."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.ops import Array, array_namespace
from arraycnn.setting_checks import check_count, check_number


@dataclass(frozen=True)
class GroupNorm:
    """Normalise groups of neighbouring channels of each image: (N, H, W, C) to the same shape.

    Wu and He, "Group normalization", 2018. Mean and variance are over all pixels of the group's
    channels, of one image: no batch is in them, so training and inference are the same. One group is
    the layer norm of images; as many as channels, instance norm.

    Parameters
    ----------
    groups : int
        The number of channels must be a multiple of it.
    epsilon : float
        Added to the variance before the square root, above 0.

    The parameters are ``weight`` (scale, one at first) and ``bias`` (shift, zero), both (C,).
    """

    groups: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_count("GroupNorm: groups", self.groups)
        check_number("GroupNorm: epsilon", self.epsilon)
        if not 0.0 < self.epsilon < float("inf"):
            message = f"GroupNorm: epsilon must be above 0 and finite, got {self.epsilon!r}"
            raise InvalidValueError(message)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        _, _, channels = check_image_shape("GroupNorm", input_shape)
        if channels % self.groups:
            message = (
                f"GroupNorm: groups must divide the channels, got {self.groups} for {channels} "
                "channels; choose groups that do"
            )
            raise InvalidValueError(message)
        return {"weight": np.ones(channels), "bias": np.zeros(channels)}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("GroupNorm", x, channels=params["weight"].shape[0])
        xp = array_namespace(x)
        grouped = self._grouped(x)
        centred = grouped - xp.mean(grouped, axis=(1, 2, 4), keepdims=True)
        variance = xp.mean(centred * centred, axis=(1, 2, 4), keepdims=True)
        inverse_deviation = 1.0 / xp.sqrt(variance + self.epsilon)
        normal = xp.reshape(centred * inverse_deviation, x.shape)
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
        # Mean and variance depend on every x of the group: the two projections of the gradient.
        part, along = self._grouped(dy * params["weight"]), self._grouped(normal)
        mean = xp.mean(part, axis=(1, 2, 4), keepdims=True)
        share = xp.mean(part * along, axis=(1, 2, 4), keepdims=True)
        return xp.reshape(inverse_deviation * (part - mean - along * share), dy.shape), gradients

    def _grouped(self, x: Array) -> Array:
        """``x`` as (N, H, W, groups, channels of a group)."""
        shape = (*x.shape[:3], self.groups, x.shape[3] // self.groups)
        return array_namespace(x).reshape(x, shape)

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule(f"nn.GroupNorm({self.groups}, {input_shape[2]}, eps={self.epsilon})")
