"""Sequential: one layer after the other."""

from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.layer import Context, Layer, Shape, Tree, check_layer
from arraycnn.ops import Array

NamedLayers: TypeAlias = list[tuple[str, Layer]]


@dataclass(frozen=True, init=False)
class Sequential:
    """A chain of layers, itself a layer: ``Sequential(Conv2d(8, 3), ReLU(), ...)``.

    Parameters and state are keyed by the position of the layer: {"0": {...}, "1": {...}}.
    An error inside names that position.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        for position, layer in enumerate(layers):
            check_layer("Sequential", f"layer {position}", layer)
        if not layers:
            message = "Sequential: needs at least one layer, got none"
            raise InvalidValueError(message)
        object.__setattr__(self, "layers", layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return init_chain(self.named_layers(), rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        return forward_chain(self.named_layers(), params, state, x, context)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        return backward_chain(self.named_layers(), params, residuals, dy, context, need_dx)

    def named_layers(self) -> NamedLayers:
        """(key in params and state, layer) for each layer in order."""
        return [(str(position), layer) for position, layer in enumerate(self.layers)]


def first_in_inference(network: Layer) -> Layer:
    """The layer that images meet first outside of training: what is there in training only, does not
    count, unless there is nothing else."""
    if not isinstance(network, Sequential):
        return network
    for layer in network.layers:
        found = first_in_inference(layer)
        if not getattr(found, "training_only", False):
            return found
    return first_in_inference(network.layers[0])


def init_chain(
    layers: NamedLayers, rng: np.random.Generator, input_shape: Shape
) -> tuple[Tree, Tree, Shape]:
    """`Layer.init` of ``layers`` one after the other, which may be a part of a Sequential."""
    params, state, shape = {}, {}, input_shape
    for name, layer in layers:
        try:
            params[name], state[name], shape = layer.init(rng, shape)
        except (TypeError, ValueError) as error:
            _raise_with_position(name, error)
    return params, state, shape


def forward_chain(
    layers: NamedLayers, params: Tree, state: Tree, x: Array, context: Context
) -> tuple[Array, Tree, Tree]:
    """`Layer.forward` of ``layers`` one after the other, which may be a part of a Sequential."""
    new_state, residuals = {}, {}
    for name, layer in layers:
        try:
            x, new_state[name], residuals[name] = layer.forward(
                params[name], state[name], x, context.inside(name)
            )
        except (TypeError, ValueError) as error:
            _raise_with_position(name, error)
    return x, new_state, residuals


def backward_chain(
    layers: NamedLayers, params: Tree, residuals: Tree, dy: Array, context: Context, need_dx: bool
) -> tuple[Array | None, Tree]:
    """`Layer.backward` of ``layers`` in reverse."""
    # Nobody needs the gradient below the first layer that has something to learn.
    first = 0 if need_dx else first_to_learn([name for name, _ in layers], params, context)
    gradients = {name: params[name] for name, _ in layers}  # in order; right where no arrays are
    dx: Array | None = dy
    for place in reversed(range(first, len(layers))):
        name, layer = layers[place]
        dx, gradients[name] = layer.backward(
            params[name], residuals[name], dx, context.inside(name), need_dx or place > first
        )
    return (dx if need_dx else None), gradients


def first_to_learn(names: list[str], params: Tree, context: Context) -> int:
    """Which of ``names``, layers one after the other, is the first with something to learn.

    Their number where none is.
    """
    learning = (context.inside(name).trains(params[name]) for name in names)
    return next((place for place, learns in enumerate(learning) if learns), len(names))


def with_position(name: str, error: Exception) -> Exception:
    """``error`` with the layer's position in front of its message, unless its kind has no other."""
    kind = type(error)
    if kind not in (InvalidTypeError, InvalidValueError, TypeError, ValueError):
        return error
    return kind(f"layer {name}, {error}")


def _raise_with_position(name: str, error: Exception) -> NoReturn:
    placed = with_position(name, error)
    if placed is error:
        raise error
    raise placed from error
