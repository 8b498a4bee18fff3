"""ZeroPadChannels: channels of zeros before and after those of the image."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_image_shape, check_images
from arraycnn.ops import Array
from arraycnn.ops.arrays import pad


@dataclass(frozen=True)
class ZeroPadChannels:
    """More channels, all zero: (N, H, W, C) to (N, H, W, before + C + after).

    Behind a pool that leaves pixels out, this is the shortcut without parameters of He et al.,
    "Deep residual learning", 2016, section 3.3, option A.

    Parameters
    ----------
    before, after : int
        How many there are in front of the image's own, and behind them.
    """

    before: int
    after: int

    def __post_init__(self) -> None:
        for name, number in (("before", self.before), ("after", self.after)):
            if not isinstance(number, int) or isinstance(number, bool):
                message = f"ZeroPadChannels: {name} must be an int, got {number!r}"
                raise InvalidTypeError(message)
            if number < 0:
                message = f"ZeroPadChannels: {name} must be at least 0, got {number!r}"
                raise InvalidValueError(message)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        height, width, channels = check_image_shape("ZeroPadChannels", input_shape)
        return {}, {}, (height, width, self.before + channels + self.after)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_images("ZeroPadChannels", x)
        return pad(x, ((0, 0), (0, 0), (0, 0), (self.before, self.after))), state, ()

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        return dy[..., self.before : dy.shape[3] - self.after], {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        # PyTorch pads the last three axes: columns, rows, channels.
        return TorchModule(f"nn.ConstantPad3d((0, 0, 0, 0, {self.before}, {self.after}), 0.0)")
