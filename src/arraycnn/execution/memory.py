"""How much memory a training step takes, measured on a few images.

NumPy tells Python of its arrays, other libraries do not: so the step that is measured runs on NumPy,
whatever the plan itself runs on.
"""

import gc
import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from arraycnn.execution.plan import StepMemory, Task
from arraycnn.layers.layer import Context, Randomness, Shape
from arraycnn.ops import GENERIC, Array, Kernels, Window
from arraycnn.ops.random_bits import seed_words
from arraycnn.optimizers import frozen_paths
from arraycnn.training.step import Batch, Carry, loss_and_gradients, train_step
from arraycnn.tree import map_leaves

_MEASURED, _MEASURED_BYTES = 32, 2**20
"""Images that memory is measured on: so many, unless they are large. Fewer may not be chained."""

# Steps are measured on zeros, or on what lies in memory: warnings of such numbers are of no use.
_OF_NO_NUMBERS = np.errstate(all="ignore")


def few_images(shape: Shape) -> int:
    """How many images of ``shape`` the memory of a batch is measured on, and on twice as many."""
    return 2 * min(max(1, _MEASURED_BYTES // (4 * math.prod(shape))), _MEASURED)


@_OF_NO_NUMBERS
def step_memory(step: Callable[[int], object], few: int, more: int) -> StepMemory:
    """What ``step``, called with a number of images, takes: from its peaks for two numbers."""
    for count in (few, more):
        step(count)  # a first call leaves things behind that stay
    return memory_between(partial(_peak, step), few, more)


@_OF_NO_NUMBERS
def memory_between(peak: Callable[[int], int], few: int, more: int) -> StepMemory:
    """What any number of images takes, where ``peak`` says it of ``few`` and ``more``."""
    low, high = peak(few), peak(more)
    per_image = max(1, (high - low) // (more - few))
    return StepMemory(fixed=max(0, low - few * per_image), per_image=per_image)


@_OF_NO_NUMBERS
def whole_step_memory(task: Task, carry: Carry, *, columns: bool) -> StepMemory:
    """What a step on the whole batch at once takes, layer by layer.

    Parameters
    ----------
    columns : bool
        Whether a convolution makes the columns of all images.
    """

    def zeros(leaf: Array) -> np.ndarray:  # which take no memory themselves
        return np.broadcast_to(np.zeros((), task.dtype), tuple(leaf.shape))

    host = Carry(*(map_leaves(zeros, tree) for tree in carry))
    ops = GENERIC if columns else _WITHOUT_COLUMNS
    dtype = "uint8" if "uint8" in str(task.images.dtype) else task.dtype
    one = np.ones((), task.dtype)

    objective, frozen = task.objective, frozen_paths(task.optimizer, host.params)

    def batch(count: int) -> tuple[Batch, Context]:
        indices = np.arange(count, dtype=np.int32)
        random = Randomness(seed_words(task.seed), np.zeros(1, np.int32), indices)
        images = np.zeros((count, *task.images.shape[1:]), dtype)
        context = Context(ops, "train", task.dtype, random, frozen=frozen)
        return Batch(images, objective.labels(count, task.dtype)), context

    def gradients(count: int) -> object:
        trees = host.params, host.state
        return loss_and_gradients(task.network, *trees, *batch(count), task.loss)

    def step(count: int) -> object:
        trial, context = batch(count)
        return train_step(task.network, task.optimizer, host, trial, one, context, task.loss)

    few = 4
    memory = step_memory(gradients, few, 2 * few)
    # The update does not grow with the images; with so few of them it may take the most.
    updating = _peak(step, few) - few * memory.per_image
    # Of a batch in parts, each image counts where its part does.
    per_image = max(1, memory.per_image // task.accumulate)
    return StepMemory(max(memory.fixed, updating), per_image)


def _peak(step: Callable[[int], object], count: int) -> int:
    """Bytes that Python and NumPy hold at the most while ``step`` runs, beside those before."""
    gc.collect()  # what would be given back meanwhile
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        step(count)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()


def _conv2d(
    ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: Any, window: Window
) -> np.ndarray:
    shape = (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), weight.shape[3])
    return np.zeros(shape, x.dtype)


def _conv2d_backward(
    ops: Kernels, x: np.ndarray, weight: np.ndarray, dy: np.ndarray, window: Window, need_dx: bool
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    dx = np.zeros(x.shape, x.dtype) if need_dx else None
    return dx, np.zeros(weight.shape, x.dtype), np.zeros(weight.shape[3:], x.dtype)


# What a convolution that works in pieces takes: its results.
_WITHOUT_COLUMNS = replace(GENERIC, conv2d=_conv2d, conv2d_backward=_conv2d_backward)
