"""Plans on NumPy's own functions, with BLAS at one thread: the threads are this library's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from arraycnn.execution.blas import single_threaded_blas
from arraycnn.execution.host import HostPlans
from arraycnn.execution.memory import step_memory
from arraycnn.execution.plan import InferencePlan, Placement, StepMemory, Task, TrainingPlan
from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.layers.layer import Layer, Tree
from arraycnn.ops import Array
from arraycnn.ops.plain import plain_kernels, steps
from arraycnn.ops.plain.columns import MOST_IMAGES
from arraycnn.ops.plain.launcher import Launcher
from arraycnn.training import Carry

# Losses that are not finite are looked for and reported by the caller: NumPy need not warn as well.
_QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Plain(HostPlans):
    """`HostPlans` that run with BLAS at one thread."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, Launcher, plain_kernels, steps, unrolled=1)

    def training_plan(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        plan = super().training_plan(placement, task, carry)
        memory = plan.memory
        if isinstance(plan, RecordedTraining):
            memory = partial(self._recorded_memory, task, carry)
        return _Training(plan, memory)

    def _recorded_memory(self, task: Task, carry: Carry) -> StepMemory:
        """What a recording holds: every array of a step, each for itself."""
        launchers: list[Launcher] = []
        count, shape = task.images.shape[0], task.images.shape[1:]
        tile = min(max(1, 2**20 // (4 * math.prod(shape))), MOST_IMAGES)

        def step(images: int) -> object:
            launchers.append(Launcher(thread_pool(1)))
            kernels = plain_kernels(launchers[-1], in_place=True)
            plan = RecordedTraining(launchers[-1], steps, kernels, task, carry, 1)
            return plan.run(0, [np.arange(images, dtype=np.int32) % count], np.zeros(1))

        one = step_memory(step, 2 * tile, 4 * tile)
        others = (self._pool.threads - 1) * launchers[-1].scratch_bytes
        return StepMemory(one.fixed + others, one.per_image)

    def inference_plan(
        self, placement: Placement, network: Layer, params: Tree, state: Tree, dtype: str
    ) -> InferencePlan:
        return _Inference(super().inference_plan(placement, network, params, state, dtype))


@dataclass(frozen=True)
class _Training:
    plan: TrainingPlan
    memory: Callable[[], StepMemory]

    @_QUIET
    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        with single_threaded_blas():
            return self.plan.run(first_step, batches, learning_rates)

    def snapshot(self) -> Carry:
        return self.plan.snapshot()

    def restore(self, carry: Carry) -> None:
        self.plan.restore(carry)


@dataclass(frozen=True)
class _Inference:
    plan: InferencePlan

    @_QUIET
    def predict(self, images: Array) -> np.ndarray:
        with single_threaded_blas():
            return self.plan.predict(images)

    @_QUIET
    def evaluate(self, images: Array, labels: Array) -> tuple[float, int]:
        with single_threaded_blas():
            return self.plan.evaluate(images, labels)
