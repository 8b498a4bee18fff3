"""Plans on kernels for NumPy arrays: recorded where every part of a step is such a kernel."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from arraycnn.data.image_source import MappedImages
from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.memory import step_memory
from arraycnn.execution.plan import InferencePlan, Placement, StepMemory, Task, TrainingPlan
from arraycnn.execution.recorded import RecordedTraining, Steps
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.execution.traceable import InferenceOnceSeen, program_plan
from arraycnn.execution.traced import Render, TracedInference, TracedTraining
from arraycnn.fusion import Chain, ConvPool2d, ConvReLU2d, DenseReLU, fuse_network
from arraycnn.layers import Conv2d, Dense, Dropout, Flatten, MaxPool2d, Rescale
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Kernels
from arraycnn.optimizers import SGD, Adam, AdamW
from arraycnn.program.screening import (
    Screened,
    Supported,
    screened_inference,
    screened_training,
)
from arraycnn.training import CROSS_ENTROPY, Carry, predicts_by_kernel
from arraycnn.tree import map_leaves

_RECORDABLE = (
    *(Conv2d, ConvReLU2d, ConvPool2d, Dense, DenseReLU, Dropout, Flatten, MaxPool2d, Rescale),
)

Plan: TypeAlias = Callable[..., RecordedTraining]
"""`RecordedTraining`, or what is made as it is."""

_MEASURED, _MEASURED_BYTES = 32, 2**20
"""Images that memory is measured on: so many, unless they are large. Fewer may not be chained."""


class HostPlans:
    """Kernels on a number of threads, and the plans that use them.

    Parameters
    ----------
    threads : int
    launcher : class
        Made with a pool of threads.
    kernels : function
        The record of kernels of a launcher; with ``in_place``, one whose updates change what they
        are given.
    steps : Steps
    unrolled : int
        As in `RecordedTraining`.
    render : Render
        Makes launches, or calls, of a traced step.
    """

    how = ""
    """In what way a network that cannot be traced is not run."""

    def __init__(
        self,
        threads: int,
        launcher: Callable[..., Any],
        kernels: Callable[..., Kernels],
        steps: Steps,
        unrolled: int,
        render: Render,
    ) -> None:
        self._pool = thread_pool(threads)
        self._launcher, self._kernels_of, self._steps = launcher, kernels, steps
        self._unrolled, self._render = unrolled, render
        self.kernels = kernels(launcher(self._pool))

    def training_plan(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        """The plan of ``task``: recorded, traced, or layer by layer."""
        is_known = type(task.optimizer) in (SGD, Adam, AdamW) and task.is_plain
        if is_known and self._is_recordable(task.network):
            return self.recorded(*in_order(task, carry))
        return self.unrecordable(placement, task, carry)

    def unrecordable(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        """A plan of the traced step, where that is all that the network does, or layer by layer."""
        plan = partial(TracedTraining, render=self._render)

        def screened(unsupported: Supported | None) -> Screened:
            trees, shape = (task.network, task.optimizer, carry), tuple(task.images.shape[1:])
            kind = shape, str(task.images.dtype) == "uint8", task.dtype
            return screened_training(*trees, *kind, unsupported, task.objective)

        def make(network: Layer) -> TrainingPlan:
            return self.recorded(*in_order(replace(task, network=network), carry), plan)

        found = program_plan("training", self.how, screened, make, self._render)
        if found is not None:
            return found
        return EagerTraining(placement, task, carry)

    def inference_plan(
        self,
        placement: Placement,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        if predicts_by_kernel(loss) and self._is_recordable(network):
            recorded = partial(RecordedInference, loss=loss)
            return self.recorded_inference(network, params, state, dtype, recorded)
        return self.unrecordable_inference(placement, network, params, state, dtype, loss)

    def unrecordable_inference(
        self,
        placement: Placement,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        """A plan of the traced pass, where that is all that the network does, or layer by layer."""
        traced = partial(TracedInference, render=self._render, loss=loss)

        def make(images: np.ndarray) -> InferencePlan | None:
            def screened(unsupported: Supported | None) -> Screened:
                shape, is_uint8 = images.shape[1:], images.dtype == np.uint8
                trees = (network, params, state)
                return screened_inference(*trees, shape, is_uint8, dtype, unsupported)

            def plan(of: Layer) -> InferencePlan:
                made: Any = self.recorded_inference(of, params, state, dtype, traced)
                with self.rehearsing():
                    made.rehearse(images[:1])
                return made

            return program_plan("inference", self.how, screened, plan, self._render)

        eager = EagerInference(placement, network, params, state, dtype, loss)
        return InferenceOnceSeen(make, eager)

    def recorded_inference(
        self,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        plan: Callable[..., RecordedInference] = RecordedInference,
    ) -> InferencePlan:
        launcher = self._launcher(self._pool)
        params, state = map_leaves(_in_order, params), map_leaves(_in_order, state)
        kernels = self._inference_kernels(launcher)
        return plan(launcher, kernels, network, params, state, dtype)

    def recorded(self, task: Task, carry: Carry, plan: Plan = RecordedTraining) -> TrainingPlan:
        launcher = self._launcher(self._pool)
        kernels = self._kernels_of(launcher, in_place=True)
        memory = partial(self._memory, task, carry, plan)
        return plan(launcher, self._steps, kernels, task, carry, self._unrolled, memory)

    def rehearsing(self) -> AbstractContextManager[object]:
        """What the first run of a plan is in."""
        return nullcontext()

    def _memory(self, task: Task, carry: Carry, kind: Plan) -> StepMemory:
        """What the recordings of a batch and of a shorter one hold, measured on few images."""
        scratch, count = 0, task.images.shape[0]
        large = max(1, _MEASURED_BYTES // (4 * math.prod(task.images.shape[1:])))
        few = 2 * min(large, _MEASURED)

        def steps(images: int) -> object:
            nonlocal scratch
            launcher = self._launcher(thread_pool(1))
            kernels = self._kernels_of(launcher, in_place=True)
            plan = kind(launcher, self._steps, kernels, task, carry, self._unrolled)
            batches = [np.arange(size, dtype=np.int32) % count for size in (images, images - 1)]
            plan.rehearse(batches)
            scratch = launcher.scratch_bytes
            return plan

        one = step_memory(steps, few, 2 * few)
        return StepMemory(one.fixed + (self._pool.threads - 1) * scratch, one.per_image)

    def _inference_kernels(self, launcher: Any) -> Kernels:
        """The record for passes that no backward follows."""
        return self._kernels_of(launcher)

    def can_pool(self, pool: MaxPool2d) -> bool:
        """Whether a kernel computes this pool."""
        return True

    def _is_recordable(self, network: Layer) -> bool:
        """Whether nothing in a step of ``network`` is a layer's own code, which no recording holds."""
        fused: Any = fuse_network(network, self.kernels)
        if not isinstance(fused, Chain):
            return False
        layers = [layer for _, layer in fused.layers]
        # Bytes are gathered and rescaled by one kernel: no other takes them, and it knows no mean.
        late = any(
            type(layer) is Rescale and (place > 0 or not layer.is_plain)
            for place, layer in enumerate(layers)
        )
        return not late and all(map(self._has_kernel, layers))

    def _has_kernel(self, layer: Layer) -> bool:
        """Whether all that a fused layer does is in kernels."""
        pool = layer.pool if type(layer) is ConvPool2d else layer
        if type(pool) is MaxPool2d and not self.can_pool(pool):
            return False
        return type(layer) in _RECORDABLE


def in_order(task: Task, carry: Carry) -> tuple[Task, Carry]:
    """The same with all that kernels read in C order."""
    carry = Carry(*(map_leaves(_in_order, tree) for tree in carry))
    images = task.images.resident
    if images is not None and not images.flags.c_contiguous:  # put in order batch by batch
        task = replace(task, images=MappedImages(images))
    return task, carry


def _in_order(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, order="C")  # ascontiguousarray would give a number an axis
