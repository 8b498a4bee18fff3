"""GlobalAvgPool2d: each channel becomes its mean."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.ops import Array, array_namespace

_TORCH = '''
class GlobalAvgPool2d(nn.Module):
    """The mean over all pixels: (N, C, H, W) to (N, C)."""

    def forward(self, x):
        return x.mean(dim=(2, 3))
'''


@dataclass(frozen=True)
class GlobalAvgPool2d:
    """The mean over all pixels, channel by channel: (N, H, W, C) to (N, C)."""

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        _, _, channels = check_image_shape("GlobalAvgPool2d", input_shape)
        return {}, {}, (channels,)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("GlobalAvgPool2d", x)
        return array_namespace(x).mean(x, axis=(1, 2)), state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (x,) = residuals
        share = dy / float(x.shape[1] * x.shape[2])
        return array_namespace(dy).broadcast_to(share[:, None, None, :], x.shape), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("GlobalAvgPool2d()", source=_TORCH)
