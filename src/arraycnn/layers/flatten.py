"""Flatten: an image becomes a row."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree
from arraycnn.ops import Array, array_namespace


@dataclass(frozen=True)
class Flatten:
    """All axes but the first become one, in row-major order: (N, H, W, C) to (N, H * W * C)."""

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, (math.prod(input_shape),)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        # x is kept for its shape alone: residuals are arrays only, and a neighbour holds it anyway.
        y = array_namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        return y, state, (x,)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        (x,) = residuals
        return array_namespace(dy).reshape(dy, x.shape), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.Flatten()")
