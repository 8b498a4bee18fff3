"""GlobalMaxPool2d: each channel becomes its largest pixel."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import device

_TORCH = '''
class GlobalMaxPool2d(nn.Module):
    """The largest of all pixels: (N, C, H, W) to (N, C)."""

    def forward(self, x):
        return x.flatten(2).max(dim=2).values
'''


@dataclass(frozen=True)
class GlobalMaxPool2d:
    """The maximum over all pixels, channel by channel: (N, H, W, C) to (N, C).

    Of several equal maxima the first in row-major order receives the gradient.
    """

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        _, _, channels = check_image_shape("GlobalMaxPool2d", input_shape)
        return {}, {}, (channels,)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("GlobalMaxPool2d", x)
        xp = array_namespace(x)
        pixels = xp.reshape(x, (x.shape[0], x.shape[1] * x.shape[2], x.shape[3]))
        winners = xp.argmax(pixels, axis=1, keepdims=True)
        return xp.max(pixels, axis=1), state, (x, winners)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        x, winners = residuals
        xp = array_namespace(dy)
        places = xp.arange(x.shape[1] * x.shape[2], dtype=winners.dtype, device=device(winners))
        dx = xp.where(winners == places[None, :, None], dy[:, None, :], 0.0)
        return xp.reshape(dx, x.shape), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("GlobalMaxPool2d()", source=_TORCH)
