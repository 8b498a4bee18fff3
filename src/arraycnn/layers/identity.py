"""Identity: the input itself, as a branch."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import Context, Shape, Tree
from arraycnn.ops import Array


@dataclass(frozen=True)
class Identity:
    """x, of any shape: the branch of a `Concatenate` or an `Add` that is the input itself."""

    any_order: ClassVar[bool] = True

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        return x, state, ()

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        return dy if need_dx else None, {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.Identity()")
