"""The sharded plan: a step cut into tiles of images, run on a thread pool.

The network is cut once, into a trunk and a head. The trunk's layers treat every image for itself
and use each weight many times in an image, as convolutions do: it runs tile by tile, a tile being
few enough images to stay in a core's cache. From the first layer on that is not so, the head runs
on the whole batch, because there one large matrix product beats many thin ones.

The tiles depend on the network alone, BLAS runs on one thread, and gradients are added in the order
of the tiles: so the result is the same to the last bit on 1, 2 or 16 threads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from arraycnn.execution.blas import single_threaded_blas
from arraycnn.execution.memory import step_memory
from arraycnn.execution.plan import StepMemory, Task
from arraycnn.execution.pooled import TILE_BYTES, pooled
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.fusion import fuse
from arraycnn.layers import LAYERS, Sequential
from arraycnn.layers.layer import Context, Layer, Randomness, Shape, Tree
from arraycnn.layers.sequential import NamedLayers, backward_chain, forward_chain
from arraycnn.ops import Array, Kernels
from arraycnn.ops.numpy_kernels import NUMPY
from arraycnn.ops.random_bits import seed_words
from arraycnn.training import Carry
from arraycnn.tree import leaves, with_leaves

_MOST_IMAGES = 32

# Losses that are not finite are looked for and reported by the caller: NumPy need not warn as well.
_QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")


@dataclass(frozen=True)
class Cut:
    """A network in two: the layers that run tile by tile, those that run on the whole batch.

    Attributes
    ----------
    trunk, head : named layers
    tile : int
        Images a tile.
    """

    trunk: NamedLayers
    head: NamedLayers
    tile: int

    def tiles(self, count: int) -> list[slice]:
        """A batch of ``count`` images in tiles."""
        starts = range(0, count, self.tile)
        return [slice(start, min(start + self.tile, count)) for start in starts]


def cut(network: Sequential, input_shape: Shape, itemsize: int) -> Cut:
    """Where ``network`` is cut, for images of ``input_shape`` without N."""
    layers = network.named_layers()
    shape, largest, first = input_shape, 1, len(layers)
    for place, (_, layer) in enumerate(layers):
        params, state, output_shape = layer.init(np.random.default_rng(0), shape)
        weights = sum(leaf.size for leaf in leaves(params))
        if leaves(state) or couples_images(layer) or weights > math.prod(output_shape):
            first = place
            break
        largest = max(largest, _column_elements(params, shape, output_shape) * itemsize)
        shape = output_shape
    tile = min(max(TILE_BYTES // largest, 1), _MOST_IMAGES)
    return Cut(layers[:first], layers[first:], tile)


def couples_images(layer: Layer) -> bool:
    """Whether the outputs of ``layer`` for one image may depend on the others of the batch.

    A user's layer says so by a class attribute ``couples_images``; where it does not say, it may.
    """
    if getattr(layer, "couples_images", type(layer) not in LAYERS.values()):
        return True
    settings: tuple[Any, ...] = fields(layer) if is_dataclass(layer) else ()
    values: list[Any] = [getattr(layer, setting.name) for setting in settings]
    parts = [part for value in values for part in (value if isinstance(value, tuple) else [value])]
    return any(couples_images(part) for part in parts if hasattr(part, "forward"))


def _column_elements(params: Tree, input_shape: Shape, output_shape: Shape) -> int:
    """About how many numbers the layer's largest array has for one image, columns included."""
    taps = [math.prod(leaf.shape[:3]) for leaf in leaves(params) if len(leaf.shape) == 4]
    return max(math.prod(output_shape), *(math.prod(input_shape[:2]) * t for t in taps), 1)


class ShardedTraining:
    """A `TrainingPlan` for NumPy: trunk by tiles on the pool, head on the whole batch."""

    def __init__(self, kernels: Kernels, threads: int, task: Task, carry: Carry) -> None:
        self._pool = thread_pool(threads)
        self._kernels = kernels
        self._whole_kernels = pooled(kernels, self._pool)
        self._task = task
        self._carry = carry
        self._seed = seed_words(task.seed)
        assert isinstance(task.network, Sequential)
        self._cut = cut(task.network, task.images.shape[1:], np.dtype(task.dtype).itemsize)
        self._fused = fuse(self._cut.trunk, kernels)

    @_QUIET
    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        rates = learning_rates.astype(self._task.dtype)
        losses, hits = [], []
        with single_threaded_blas():
            for number, indices in enumerate(batches):
                step = np.array([first_step + number], dtype=np.int32)
                self._carry, loss, correct = self._step(indices, step, rates[number])
                losses.append(loss)
                hits.append(correct)
        return np.array(losses), np.array(hits, dtype=np.int64)

    def snapshot(self) -> Carry:
        return self._carry  # steps make new arrays and never change these

    def restore(self, carry: Carry) -> None:
        self._carry = carry

    def memory(self) -> StepMemory:
        # Arrays that numba makes are not counted: those of NumPy's own kernels are as large. On one
        # thread, so that it is sure how many tiles are at work at once.
        kernels = replace(NUMPY, gather=self._kernels.gather)
        plan = ShardedTraining(kernels, 1, self._task, self._carry)
        count = self._task.images.shape[0]

        def step(images: int) -> object:
            return plan.run(0, [np.arange(images, dtype=np.int32) % count], np.zeros(1))

        one = step_memory(step, 2 * self._cut.tile, 4 * self._cut.tile)
        return StepMemory(self._pool.threads * one.fixed, one.per_image)

    def _step(
        self, indices: np.ndarray, step: np.ndarray, learning_rate: Any
    ) -> tuple[Carry, float, int]:
        task, (params, state, optimizer_state) = self._task, self._carry
        trunk, head = self._cut.trunk, self._cut.head
        count = len(indices)
        tiles = self._cut.tiles(count)
        # One tile alone has the pool to itself.
        kernels = self._kernels if len(tiles) > 1 else self._whole_kernels

        def context(ops: Kernels, part: slice) -> Context:
            return Context(ops, "train", task.dtype, Randomness(self._seed, step, indices[part]))

        def forward(number: int) -> tuple[Array, Tree, Tree]:
            part = tiles[number]
            images = kernels.gather(task.images, indices[part])
            return forward_chain(self._fused, params, state, images, context(kernels, part))

        forwards = self._pool.map(forward, len(tiles))
        x = _joined([y for y, _, _ in forwards])
        whole = context(self._whole_kernels, slice(0, count))
        logits, head_state, residuals = forward_chain(head, params, state, x, whole)
        labels = whole.ops.gather(task.labels, indices)
        loss_sum, dlogits, correct = whole.ops.softmax_cross_entropy(logits, labels, count)
        learns = any(leaves(params[name]) for name, _ in trunk)
        dx: Any
        dx, head_gradients = backward_chain(head, params, residuals, dlogits, whole, learns)

        def backward(number: int) -> Tree:
            part = tiles[number]
            _, gradients = backward_chain(
                self._fused, params, forwards[number][2], dx[part], context(kernels, part), False
            )
            return gradients

        trunk_gradients = {name: params[name] for name, _ in trunk}  # right where no arrays are
        if learns:
            trunk_gradients |= _added(self._pool.map(backward, len(tiles)))
        gradients = trunk_gradients | head_gradients
        params, optimizer_state = task.optimizer.update(
            self._whole_kernels, params, gradients, optimizer_state, learning_rate
        )
        new_state = {name: state[name] for name, _ in trunk} | head_state
        return Carry(params, new_state, optimizer_state), float(loss_sum) / count, int(correct)


class ShardedInference:
    """An `InferencePlan` for NumPy: trunk by tiles on the pool, head on the whole batch."""

    def __init__(
        self,
        kernels: Kernels,
        threads: int,
        network: Sequential,
        params: Tree,
        state: Tree,
        dtype: str,
    ) -> None:
        self._network, self._params, self._state = network, params, state
        self._pool = thread_pool(threads)
        self._tile_context = Context(kernels, "infer", dtype)
        self._whole_context = Context(pooled(kernels, self._pool), "infer", dtype)

    @_QUIET
    def predict(self, images: Array) -> np.ndarray:
        with single_threaded_blas():
            return self._whole_context.ops.softmax(self._logits(images))

    @_QUIET
    def evaluate(self, images: Array, labels: Array) -> tuple[float, int]:
        with single_threaded_blas():
            loss_sum, _, correct = self._whole_context.ops.softmax_cross_entropy(
                self._logits(images), labels, images.shape[0]
            )
        return float(loss_sum), int(correct)

    def _logits(self, images: Array) -> Array:
        shape = images.shape[1:]
        plan = _known_cut(self._network, shape, np.dtype(self._tile_context.dtype).itemsize)
        count = images.shape[0]
        parts = plan.tiles(count)
        context = self._tile_context if len(parts) > 1 else self._whole_context
        fused = fuse(plan.trunk, context.ops)

        def forward(number: int) -> Array:
            x = images[parts[number]]
            return forward_chain(fused, self._params, self._state, x, context)[0]

        x = _joined(self._pool.map(forward, len(parts)))
        return forward_chain(plan.head, self._params, self._state, x, self._whole_context)[0]


def _known_cut(network: Sequential, input_shape: Shape, itemsize: int) -> Cut:
    """`cut`, which draws parameters to learn their shapes, once for a network with a hash."""
    try:
        return _remembered_cut(network, input_shape, itemsize)
    except TypeError:  # a user's layer need not have one
        return cut(network, input_shape, itemsize)


_remembered_cut = lru_cache(maxsize=32)(cut)


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _added(trees: list[Tree]) -> Tree:
    """The sum of the tiles' gradients, in the order of the tiles."""
    total = leaves(trees[0])
    for tree in trees[1:]:
        total = [a + b for a, b in zip(total, leaves(tree), strict=True)]
    return with_leaves(trees[0], total)
