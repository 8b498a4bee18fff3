"""ReLU: negative numbers become zero."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_floating
from arraycnn.ops import Array


@dataclass(frozen=True)
class ReLU:
    """max(x, 0), of any shape; its gradient at 0 is 0."""

    any_order: ClassVar[bool] = True

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_floating("ReLU", x)
        y = context.ops.relu(x)
        return y, state, (y,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (y,) = residuals
        return context.ops.relu_backward(dy, y), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.ReLU()")
