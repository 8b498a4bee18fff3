"""Rescale: a pixel of one byte becomes a number between -0.5 and 0.5."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError
from arraycnn.layers.layer import Context, Shape, Tree
from arraycnn.ops import Array, array_namespace


@dataclass(frozen=True)
class Rescale:
    """uint8 to x / 255 - 0.5, so that preprocessing travels with the model.

    Takes uint8 only, of any shape; anything else raises InvalidTypeError.
    """

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return {}, {}, input_shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        xp = array_namespace(x)
        if x.dtype != xp.uint8:
            message = (
                f"Rescale: input must be uint8 (0 to 255), got {x.dtype}; "
                "pass the images as uint8, or leave Rescale out and scale them yourself"
            )
            raise InvalidTypeError(message)
        return context.ops.rescale(x, context.dtype), state, ()

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        return (dy / 255.0 if need_dx else None), {}
