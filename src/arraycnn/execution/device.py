"""Plans for arrays on a CUDA device: of a step as a program, or layer by layer."""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from arraycnn.execution.memory import few_images, memory_between
from arraycnn.execution.plan import StepMemory, Task, TrainingPlan
from arraycnn.execution.recorded import SENT_BYTES, UNROLLED, RecordedTraining
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.execution.traceable import ProgramPlans
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.cuda.unstarted import MemoryLauncher
from arraycnn.program.render.cuda.launches import rendering
from arraycnn.program.screening import is_of_the_library
from arraycnn.training.step import Carry
from arraycnn.tree import leaves, map_leaves


class DevicePlans(ProgramPlans):
    """The plans of what a launcher starts.

    Parameters
    ----------
    launcher : Launcher
    precision : str
        Of matrix products.
    backend : str
        In messages.
    """

    def __init__(self, launcher: Launcher, precision: str, backend: str) -> None:
        self._launcher, self._precision, self.backend = launcher, precision, backend
        self._render = rendering(precision)

    def recorded_training(self, task: Task, carry: Carry) -> TrainingPlan:
        carry = Carry(*map(self._in_order, carry))
        return self._plan(self._launcher, task, carry)

    def _plan(self, launcher: Launcher, task: Task, carry: Carry) -> RecordedTraining:
        # No kernel begins or ends a step: its program reads and writes the tables.
        return RecordedTraining(
            *(launcher, None, cuda_kernels(launcher, self._precision), task, carry),
            memory=partial(self._memory, task, carry),
            render=self._render,
        )

    def _memory(self, task: Task, carry: Carry) -> StepMemory:
        """What the recordings of a batch and of a shorter one hold, without a device."""
        task = replace(task, share=None)  # so that a batch of some images runs on as many
        blank = Carry(*(map_leaves(_blank, tree) for tree in carry))

        def peak(images: int) -> int:
            launcher = MemoryLauncher()
            plan = self._plan(launcher, task.on_blank(images), blank)
            sizes = [*[images] * (UNROLLED + 1), max(1, images - 1)]
            plan.run(0, [np.arange(size, dtype=np.int32) for size in sizes], np.zeros(len(sizes)))
            return launcher.peak_bytes

        few = few_images(task.images.shape[1:])
        one = memory_between(peak, few, 2 * few)
        # A rehearsal keeps what it is to leave as it was.
        fixed = one.fixed + sum(leaf.nbytes for tree in blank for leaf in leaves(tree))
        if task.images.resident is not None:
            return StepMemory(fixed, one.per_image)
        # The part that is read, and two on their way.
        image = math.prod(task.images.shape[1:]) * np.dtype(str(task.images.dtype)).itemsize
        return StepMemory(fixed + 3 * SENT_BYTES, one.per_image + 3 * image)

    def recorded_inference(
        self, network: Layer, params: Tree, state: Tree, dtype: str, loss: Loss
    ) -> RecordedInference:
        params, state = self._in_order(params), self._in_order(state)
        kernels = cuda_kernels(self._launcher, self._precision)
        return RecordedInference(
            *(self._launcher, kernels, network, params, state, dtype),
            render=self._render,
            loss=loss,
        )

    def _in_order(self, tree: Tree) -> Tree:
        return map_leaves(self._launcher.contiguous, tree)

    def _on_host(self, tree: Tree, network: Layer) -> Tree:
        """Of the library's own layers, it is of shapes alone."""
        if is_of_the_library(network):
            return map_leaves(_blank, tree)
        return map_leaves(self._launcher.to_numpy, tree)


def _blank(leaf: Array) -> np.ndarray:
    return np.zeros(leaf.shape, str(leaf.dtype))
