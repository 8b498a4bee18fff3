"""Plans for NumPy arrays: of a step as a program, or layer by layer."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from arraycnn.data.image_source import MappedImages
from arraycnn.execution.memory import few_images, step_memory
from arraycnn.execution.plan import StepMemory, Task, TrainingPlan
from arraycnn.execution.recordable import Render, Steps
from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.execution.traceable import ProgramPlans
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Kernels
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves


class HostPlans(ProgramPlans):
    """Kernels on a number of threads, and the plans that use them.

    Parameters
    ----------
    threads : int
    launcher : class
        Made with a pool of threads.
    kernels : function
        The record of kernels of a launcher.
    steps : Steps
    unrolled : int
        Steps of the longer of a plan's two recordings, as in `RecordedTraining`: with 1 there is one,
        and no step is rehearsed before it is recorded.
    render : Render
        Makes launches, or calls, of a traced step.
    """

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

    def recorded_training(self, task: Task, carry: Carry) -> TrainingPlan:
        return self.traced(*in_order(task, carry))

    def recorded_inference(
        self, network: Layer, params: Tree, state: Tree, dtype: str, loss: Loss
    ) -> RecordedInference:
        launcher = self._launcher(self._pool)
        params, state = map_leaves(_in_order, params), map_leaves(_in_order, state)
        kernels = self._inference_kernels(launcher)
        return RecordedInference(
            *(launcher, kernels, network, params, state, dtype), render=self._render, loss=loss
        )

    def traced(self, task: Task, carry: Carry) -> RecordedTraining:
        """The plan of a step that can be a program, its arrays in C order."""
        return self._plan(self._launcher(self._pool), task, carry)

    def _plan(self, launcher: Any, task: Task, carry: Carry) -> RecordedTraining:
        how = self._steps, self._training_kernels(launcher)
        memory = partial(self._memory, task, carry)
        return RecordedTraining(
            launcher, *how, task, carry, self._unrolled, memory=memory, render=self._render
        )

    def _memory(self, task: Task, carry: Carry) -> StepMemory:
        """What the recordings of a batch and of a shorter one hold, measured on few images."""
        task = replace(task, share=None)  # so that a batch of some images runs on as many
        scratch, count = 0, task.images.shape[0]
        few = few_images(task.images.shape[1:])

        def steps(images: int) -> object:
            nonlocal scratch
            launcher = self._launcher(thread_pool(1))
            plan = self._plan(launcher, task, carry)
            batches = [np.arange(size, dtype=np.int32) % count for size in (images, images - 1)]
            plan.rehearse(batches)
            scratch = launcher.scratch_bytes
            return plan

        one = step_memory(steps, few, 2 * few)
        return StepMemory(one.fixed + (self._pool.threads - 1) * scratch, one.per_image)

    def _inference_kernels(self, launcher: Any) -> Kernels:
        """The record for passes that no backward follows."""
        return self._kernels_of(launcher)

    def _training_kernels(self, launcher: Any) -> Kernels:
        """The record for training steps."""
        return self._kernels_of(launcher)


def in_order(task: Task, carry: Carry) -> tuple[Task, Carry]:
    """The same with all that kernels read in C order."""
    carry = Carry(*(map_leaves(_in_order, tree) for tree in carry))
    images = task.images.resident
    if images is not None and not images.flags.c_contiguous:  # put in order batch by batch
        task = replace(task, images=MappedImages(images))
    return task, carry


def _in_order(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, order="C")  # ascontiguousarray would give a number an axis
