"""Softmax: numbers become probabilities."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree, check_floating
from arraycnn.ops import Array, array_namespace


@dataclass(frozen=True)
class Softmax:
    """exp(x) / sum(exp(x)) over the last axis, stable; backward applies the full Jacobian.

    `Model` trains on logits and applies the softmax itself: its networks do not end with this.
    """

    any_order: ClassVar[bool] = True

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_floating("Softmax", x)
        y = context.ops.softmax(x)
        return y, state, (y,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (y,) = residuals
        along_y = array_namespace(dy).sum(dy * y, axis=-1, keepdims=True)
        return y * (dy - along_y), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.Softmax(dim=1)")
