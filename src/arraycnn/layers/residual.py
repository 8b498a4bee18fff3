"""Residual: a layer and a way around it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.layer import Context, Layer, Shape, Tree, check_layer
from arraycnn.ops import Array


@dataclass(frozen=True)
class Residual:
    """body(x) + shortcut(x), the shortcut being x itself unless given.

    He et al., "Deep residual learning for image recognition", 2016.

    Parameters
    ----------
    body : Layer
    shortcut : Layer or None
        Needed where the body changes the shape, for example ``Conv2d(32, 1, stride=2)``.

    Raises
    ------
    InvalidValueError
        Body and shortcut give different shapes.
    """

    body: Layer
    shortcut: Layer | None = None

    def __post_init__(self) -> None:
        check_layer("Residual", "body", self.body)
        if self.shortcut is not None:
            check_layer("Residual", "shortcut", self.shortcut)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        params, state = {}, {}
        params["body"], state["body"], shape = self.body.init(rng, input_shape)
        around = input_shape
        if self.shortcut is not None:
            params["shortcut"], state["shortcut"], around = self.shortcut.init(rng, input_shape)
        if shape != around:
            message = (
                f"Residual: body and shortcut must give one shape, got {shape} and {around}; "
                'use padding="same" in the body, or a shortcut such as Conv2d(filters, 1, stride)'
            )
            raise InvalidValueError(message)
        return params, state, shape

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        new_state, residuals = {}, {}
        y, new_state["body"], residuals["body"] = self.body.forward(
            params["body"], state["body"], x, context.inside("body")
        )
        around = x
        if self.shortcut is not None:
            around, new_state["shortcut"], residuals["shortcut"] = self.shortcut.forward(
                params["shortcut"], state["shortcut"], x, context.inside("shortcut")
            )
        return y + around, new_state, residuals

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        gradients = {}
        dx, gradients["body"] = self.body.backward(
            params["body"], residuals["body"], dy, context.inside("body"), need_dx
        )
        around: Array | None = dy
        if self.shortcut is not None:
            around, gradients["shortcut"] = self.shortcut.backward(
                params["shortcut"],
                residuals["shortcut"],
                dy,
                context.inside("shortcut"),
                need_dx,
            )
        return (None if dx is None or around is None else dx + around), gradients
