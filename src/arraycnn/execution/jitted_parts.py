"""A network of which some layers cannot be compiled by XLA: these run as JAX executes them, and each
run of layers between them is one compiled function forward and one backward.

Nothing is called back out of compiled code: a layer that computes with JAX could wait for it forever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from arraycnn.layers import Sequential
from arraycnn.layers.augmentation.mixing import mixtures_of
from arraycnn.layers.branches import is_of_branches
from arraycnn.layers.layer import Context, Layer, Randomness, Shape, Tree
from arraycnn.layers.sequential import (
    NamedLayers,
    backward_chain,
    first_to_learn,
    forward_chain,
    init_chain,
)
from arraycnn.ops import Array, Kernels
from arraycnn.optimizers import Optimizer, frozen_paths

Path = tuple[str, ...]


def parted(network: Layer, eager: Collection[Path], path: Path = ()) -> Layer:
    """``network`` with all compiled but the layers at the paths ``eager``."""
    inside = [place for place in eager if place[: len(path)] == path]
    if not inside:
        return Jitted(network)
    if path in inside:
        return network
    if is_of_branches(network):
        layers = network.named_layers()
        return network.with_layers([parted(one, inside, (*path, name)) for name, one in layers])
    if type(network) is not Sequential:
        return network

    def is_compiled(item: tuple[str, Layer]) -> bool:
        place = (*path, item[0])
        return not any(other[: len(place)] == place for other in inside)

    runs: list[tuple[NamedLayers, Layer]] = []
    for compiled, grouped in groupby(network.named_layers(), is_compiled):
        run = list(grouped)
        if compiled:
            runs.append((run, Jitted(_Run(run))))
            continue
        for name, layer in run:
            alone = [(name, parted(layer, inside, (*path, name)))]
            runs.append(([(name, layer)], _Run(alone)))
    return _Runs(network, runs)


class _Run:
    """Some layers of a Sequential, under their own names."""

    def __init__(self, layers: NamedLayers) -> None:
        self._layers = layers

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return init_chain(self._layers, rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        return forward_chain(self._layers, params, state, x, context)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        return backward_chain(self._layers, params, residuals, dy, context, need_dx)


class Jitted:
    """A layer whose passes are compiled, anew for each shape that they meet."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._forward: Callable[..., Any] | None = None
        self._backward: dict[tuple, Callable[..., Any]] = {}
        self._nests: dict[tuple, tuple[Any, list[Any]]] = {}
        """Of each shape: how residuals are nested, and which of them are no arrays."""

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self._layer.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        import jax

        if self._forward is None:
            settled = replace(context, randomness=None)

            def run(params: Tree, state: Tree, x: Array, random: Any) -> tuple:
                y, new, residuals = self._layer.forward(params, state, x, _with(settled, random))
                # No backward pass follows in inference.
                values, nest = jax.tree.flatten(residuals if settled.mode == "train" else ())
                is_array = [isinstance(value, jax.Array) for value in values]
                others = [None if a else v for v, a in zip(values, is_array, strict=True)]
                self._nests[x.shape, str(x.dtype)] = nest, others
                arrays = [v for v, a in zip(values, is_array, strict=True) if a]
                return y, new, arrays, mixtures_of(residuals)

            self._forward = jax.jit(run)
        y, new, arrays, mixtures = self._forward(params, state, x, _arrays(context))
        return y, ordered(new, state), (arrays, (x.shape, str(x.dtype)), mixtures)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        import jax

        arrays, kind, _ = residuals
        key = need_dx, kind
        if key not in self._backward:
            settled, (nest, others) = replace(context, randomness=None), self._nests[kind]

            def run(params: Tree, arrays: list[Array], dy: Array, random: Any) -> tuple:
                given = iter(arrays)
                values = [next(given) if other is None else other for other in others]
                kept = jax.tree.unflatten(nest, values)
                return self._layer.backward(params, kept, dy, _with(settled, random), need_dx)

            self._backward[key] = jax.jit(run)
        return self._backward[key](params, arrays, dy, _arrays(context))


class JittedOptimizer:
    """An optimizer whose update is compiled."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self.learning_rate = optimizer.learning_rate
        self._update: Callable[..., Any] | None = None

    def frozen_paths(self, params: Tree) -> frozenset[str]:
        return frozen_paths(self._optimizer, params)

    def init(self, params: Tree) -> Tree:
        return self._optimizer.init(params)

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        import jax

        if self._update is None:
            self._update = jax.jit(lambda *trees: self._optimizer.update(ops, *trees))
        moved, after = self._update(params, gradients, state, learning_rate)
        return ordered(moved, params), ordered(after, state)


class _Runs:
    """A Sequential as runs of its layers, one after the other, under their own names."""

    def __init__(self, network: Layer, runs: list[tuple[NamedLayers, Layer]]) -> None:
        self._network = network
        self._runs = [([name for name, _ in layers], run) for layers, run in runs]

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self._network.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        after: Tree = {}
        residuals = []
        for names, run in self._runs:
            x, new, kept = run.forward(_of(params, names), _of(state, names), x, context)
            after |= new
            residuals.append(kept)
        return x, after, residuals

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        gradients: Tree = {name: params[name] for names, _ in self._runs for name in names}
        # As `backward_chain`: nobody needs the gradient below the first that learns.
        below = 0 if need_dx else first_to_learn(list(gradients), params, context)
        idle = set(list(gradients)[:below])
        first = sum(idle.issuperset(names) for names, _ in self._runs)
        dx: Array | None = dy
        for place in reversed(range(first, len(self._runs))):
            names, run = self._runs[place]
            dx, found = run.backward(
                _of(params, names), residuals[place], dx, context, need_dx or place > first
            )
            gradients |= found
        return (dx if need_dx else None), gradients


def ordered(tree: Tree, like: Tree) -> Tree:
    """``tree``, which a compiled function returns in the order of its names, in that of ``like``."""
    names = [name for name in like if name in tree]
    names += [name for name in tree if name not in like]
    return {
        name: ordered(tree[name], like.get(name, {}))
        if isinstance(tree[name], dict)
        else tree[name]
        for name in names
    }


def _of(tree: Tree, names: list[str]) -> Tree:
    return {name: tree[name] for name in names}


def _arrays(context: Context) -> tuple[Array, Array, Array] | None:
    random = context.randomness
    return None if random is None else (random.seed, random.step, random.indices)


def _with(context: Context, random: Any) -> Context:
    return context if random is None else replace(context, randomness=Randomness(*random))
