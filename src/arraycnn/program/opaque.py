"""Opaque layers: what cannot be traced is called as it is written, between two compiled parts.

Such a layer is given ordinary arrays, copies that it may keep, as the eager plan gives them. What its
forward pass leaves for the backward one is no array of the program: it is kept aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.layer import Context, Layer, Randomness, Shape, Tree
from arraycnn.layers.sequential import with_position
from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.program.trace import Traced, recorder
from arraycnn.tree import leaves, map_leaves, with_leaves

_TOKEN = np.dtype(np.uint8)


@dataclass(frozen=True)
class Output:
    """What a layer's forward pass returns: the shape without N; None for the step's own dtype."""

    shape: Shape
    dtype: str | None


@dataclass(frozen=True)
class Opaque:
    """A layer that a program calls: on arrays it is that layer, on traced ones a call is noted.

    Parameters
    ----------
    layer : Layer
    cause : str
        Why: names the layer.
    output : Output
        As it was found by running the layer.
    """

    layer: Layer
    cause: str
    output: Output

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self.layer.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        if not isinstance(x, Traced):
            return self.layer.forward(params, state, x, context)
        residuals = _Residuals(x.shape)
        call = Call(self.layer, "forward", context, params, state, residuals)
        shape = (x.shape[0], *self.output.shape)
        output = shape, np.dtype(self.output.dtype or context.dtype)
        given = [x, *leaves(params), *leaves(state), *_random(context)]
        y, *new = _noted(call, given, [output, *map(_form, leaves(state))])
        return y, with_leaves(state, new), residuals

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not isinstance(residuals, _Residuals):
            return self.layer.backward(params, residuals, dy, context, need_dx)
        call = Call(self.layer, "backward", context, params, {}, residuals, need_dx)
        dx = [(residuals.x_shape, np.dtype(context.dtype))] if need_dx else []
        given = [dy, *leaves(params), *_random(context)]
        results = _noted(call, given, [*dx, *map(_form, leaves(params))])
        return (results.pop(0) if need_dx else None), with_leaves(params, results)


class Remembering:
    """A layer that answers a second time as it did the first: for what is run twice on one batch."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._known: dict[str, Any] = {}

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self.layer.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        if "forward" not in self._known:
            self._known["forward"] = self.layer.forward(params, state, x, context)
        return self._known["forward"]

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if "backward" not in self._known:
            self._known["backward"] = self.layer.backward(params, residuals, dy, context, need_dx)
        return self._known["backward"]


def name_of(layer: Layer) -> str:
    """The name of the class that a user wrote."""
    while isinstance(layer, Opaque | Remembering):
        layer = layer.layer
    return type(layer).__name__


class _Residuals:
    """Where a forward pass leaves what its backward pass will need."""

    def __init__(self, x_shape: tuple[int, ...]) -> None:
        self.x_shape = x_shape
        self.value: Any = None


_Form: TypeAlias = tuple[tuple[int, ...], np.dtype]


class Call:
    """One pass of an opaque layer: what its node's inputs become, in the order of its parts.

    The last part is for the next call, which so comes after this one.
    """

    def __init__(
        self,
        layer: Layer,
        direction: str,
        context: Context,
        params: Tree,
        state: Tree,
        residuals: _Residuals,
        need_dx: bool = False,
    ) -> None:
        self.direction, self.name = direction, name_of(layer)
        self.results: list[_Form] = []
        """Shapes and dtypes of all parts but the last."""
        self._layer, self._residuals, self._need_dx = layer, residuals, need_dx
        self._context = replace(context, randomness=None)
        self._is_random = context.randomness is not None
        self._params, self._state = (map_leaves(lambda _: None, tree) for tree in (params, state))

    def __repr__(self) -> str:
        return f"{self.name} {'.'.join(self._context.path)} {self.direction}"

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # as the eager plan does
    def __call__(self, inputs: Sequence[Any], ops: Kernels) -> list[Array]:
        given = iter([_copy(array) for array in inputs])
        x = next(given)
        params = map_leaves(lambda _: next(given), self._params)
        state = map_leaves(lambda _: next(given), self._state)
        random = Randomness(*(next(given) for _ in range(3))) if self._is_random else None
        context = replace(self._context, ops=ops, randomness=random)
        run = self._forward if self.direction == "forward" else self._backward
        results = run(params, state, x, context)
        found = [*map(self._checked, results, self.results)]
        return [*found, array_namespace(x).zeros(1, dtype=_TOKEN)]

    def _forward(self, params: Tree, state: Tree, x: np.ndarray, context: Context) -> list[Any]:
        try:
            y, new, kept = self._layer.forward(params, state, x, context)
        except (TypeError, ValueError) as error:
            placed: Exception = error
            for name in filter(str.isdigit, reversed(context.path)):  # as Sequential does
                placed = with_position(name, placed)
            raise placed from error
        self._residuals.value = kept if context.mode == "train" else None
        return [y, *leaves(in_order_of(self._state, new))]

    def _backward(self, params: Tree, _: Tree, dy: np.ndarray, context: Context) -> list[Any]:
        kept, self._residuals.value = self._residuals.value, None
        dx, gradients = self._layer.backward(params, kept, dy, context, self._need_dx)
        return [*([dx] if self._need_dx else []), *leaves(in_order_of(self._params, gradients))]

    def _checked(self, result: Any, wanted: _Form) -> Array:
        found = form(result)
        if found == wanted:
            return np.asarray(result) if isinstance(result, np.generic) else result
        (shape, dtype), name = wanted, f"layer {'.'.join(self._context.path)}, {self.name}"
        got = type(result).__name__ if found is None else f"{found[1]} {found[0]}"
        message = (
            f"{name}: {self.direction} must return {dtype} {shape}, got {got}; "
            "return arrays of the same shape and dtype each time"
        )
        raise InvalidValueError(message)


def form(result: Any) -> _Form | None:
    """Shape and dtype of an array that NumPy or CuPy made; None for anything else."""
    is_array = isinstance(getattr(result, "dtype", None), np.dtype) and hasattr(result, "shape")
    return (tuple(result.shape), result.dtype) if is_array else None


def _copy(array: Array) -> Array:
    """A copy in C order, which a layer may keep."""
    if isinstance(array, np.ndarray):
        return np.array(array, order="C")
    return array_namespace(array).asarray(array, copy=True)


def in_order_of(tree: Tree, values: Tree) -> Tree:
    """``values`` in the order of ``tree``; KeyError where one is missing."""
    return {
        name: in_order_of(value, values[name]) if isinstance(value, dict) else values[name]
        for name, value in tree.items()
    }


def _random(context: Context) -> list[Any]:
    random = context.randomness
    return [] if random is None else [random.seed, random.step, random.indices]


def _form(array: Traced) -> _Form:
    return array.shape, array.dtype


def _noted(call: Call, given: list[Any], results: list[_Form]) -> list[Traced]:
    """Note ``call`` of traced arrays, after the last call that was noted; its results."""
    note, call.results = recorder(), results
    inputs = [array.node for array in given] + ([note.last_call] if note.last_call else [])
    forms = [*results, ((1,), _TOKEN)]
    node = note.note("opaque", tuple(inputs), (call,), *forms[0]).node
    parts = [note.note("part", (node,), (place,), *each) for place, each in enumerate(forms)]
    note.last_call = parts.pop().node
    return parts
