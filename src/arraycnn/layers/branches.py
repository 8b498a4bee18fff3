"""Branches: layers that get the same input, whose outputs become one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeGuard

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.layer import Context, Layer, Shape, Tree, check_layer
from arraycnn.layers.sequential import NamedLayers, Sequential
from arraycnn.ops import Array


class Branches(ABC):
    """A layer made of branches; a subclass says which they are, and how outputs are joined.

    Its ``torch_module`` names the class that takes the branches' modules.
    """

    @abstractmethod
    def named_branches(self) -> list[tuple[str, Layer | None]]:
        """(key in params and state, layer) of each; None is the input itself, which has no key."""

    @abstractmethod
    def with_layers(self, layers: Sequence[Layer]) -> Self:
        """The same of other layers, one for each of `named_layers`."""

    @abstractmethod
    def joined_shape(self, shapes: list[Shape]) -> Shape:
        """The output's shape, or InvalidValueError where those of the branches do not fit."""

    @abstractmethod
    def join(self, outputs: list[Array]) -> Array:
        """What is made of the branches' outputs."""

    @abstractmethod
    def split(self, dy: Array, outputs: list[Array]) -> list[Array]:
        """The gradient for each of ``outputs``, which are asked for their shapes alone."""

    def named_layers(self) -> NamedLayers:
        """`named_branches` without the input itself."""
        return [(name, layer) for name, layer in self.named_branches() if layer is not None]

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        params, state, shapes = {}, {}, []
        for name, layer in self.named_branches():
            shape = input_shape
            if layer is not None:
                self._check_labels(name, layer)
                params[name], state[name], shape = layer.init(rng, input_shape)
            shapes.append(shape)
        return params, state, self.joined_shape(shapes)

    def _check_labels(self, name: str, layer: Layer) -> None:
        """Refuse a branch that mixes labels: the others keep theirs."""
        for part in layer.layers if isinstance(layer, Sequential) else ():
            self._check_labels(name, part)
        if getattr(layer, "mixes_labels", False):
            owner = type(self).__name__
            message = (
                f"{owner}: branch {name} must not mix labels, got {layer!r}; put it before {owner}"
            )
            raise InvalidValueError(message)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        new_state, residuals, outputs = {}, {}, []
        for name, layer in self.named_branches():
            y = x
            if layer is not None:
                y, new_state[name], residuals[name] = layer.forward(
                    params[name], state[name], x, context.inside(name)
                )
            outputs.append(y)
        return self.join(outputs), new_state, (residuals, outputs)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        inner, outputs = residuals
        gradients, total = {}, None
        branches = zip(self.named_branches(), self.split(dy, outputs), strict=True)
        for (name, layer), part in branches:
            dx: Array | None = part
            if layer is not None:
                dx, gradients[name] = layer.backward(
                    params[name], inner[name], part, context.inside(name), need_dx
                )
            if need_dx:
                total = dx if total is None else total + dx
        return total, gradients


def is_of_branches(layer: Any) -> TypeGuard[Branches]:
    """Whether ``layer`` does what `Branches` does; a subclass may compute something else."""
    kind = type(layer)
    return isinstance(layer, Branches) and all(
        getattr(kind, name) is getattr(Branches, name) for name in ("init", "forward", "backward")
    )


@dataclass(frozen=True, init=False, repr=False)
class NumberedBranches(Branches):
    """Any number of branches, whose keys are "0", "1", ..."""

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        owner = type(self).__name__
        for position, layer in enumerate(layers):
            check_layer(owner, f"branch {position}", layer)
        if not layers:
            message = f"{owner}: needs at least one branch, got none"
            raise InvalidValueError(message)
        object.__setattr__(self, "layers", layers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"

    def named_branches(self) -> list[tuple[str, Layer | None]]:
        return [(str(position), layer) for position, layer in enumerate(self.layers)]

    def with_layers(self, layers: Sequence[Layer]) -> Self:
        return type(self)(*layers)
