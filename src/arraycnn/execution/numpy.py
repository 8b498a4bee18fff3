"""Plans on NumPy's own functions, with BLAS at one thread: the threads are this library's."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.execution.blas import single_threaded_blas
from arraycnn.execution.host import HostPlans
from arraycnn.execution.plan import Finished, InferencePlan, Placement, Task, TrainingPlan
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.ops.numpy import steps
from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.ops.numpy.record import numpy_kernels
from arraycnn.program.render.numpy.calls import Calls
from arraycnn.training.step import CROSS_ENTROPY, Carry

# Losses that are not finite are looked for and reported by the caller: NumPy need not warn as well.
_QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")


MOST_IMAGES = 256
"""Of inference at a time: enough for every thread, and what they take stays small."""


class NumPyPlans(HostPlans):
    """`HostPlans` that run with BLAS at one thread."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, Launcher, numpy_kernels, steps, unrolled=1, render=Calls)

    def training_plan(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        return _Training(super().training_plan(placement, task, carry))

    def inference_plan(
        self,
        placement: Placement,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        return _Inference(super().inference_plan(placement, network, params, state, dtype, loss))

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"), single_threaded_blas():
            yield

    def _training_kernels(self, launcher: Launcher) -> Kernels:
        return numpy_kernels(launcher, late=True)

    def _inference_kernels(self, launcher: Launcher) -> Kernels:
        return numpy_kernels(launcher, need_winners=False)


class _Training:
    """A plan that runs with BLAS at one thread."""

    def __init__(self, plan: TrainingPlan) -> None:
        self._plan = plan
        self.memory, self.close = plan.memory, plan.close

    @_QUIET
    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        with single_threaded_blas():
            return self._plan.run(first_step, batches, learning_rates)

    def finished(self) -> Finished | None:
        return self._plan.finished()

    def snapshot(self) -> Carry:
        return self._plan.snapshot()

    def restore(self, carry: Carry) -> None:
        self._plan.restore(carry)


@dataclass(frozen=True)
class _Inference:
    plan: InferencePlan

    @_QUIET
    def predict(self, images: Array) -> np.ndarray:
        with single_threaded_blas():
            return np.concatenate([self.plan.predict(images[part]) for part in _parts(images)])

    @_QUIET
    def evaluate(self, images: Array, labels: Array) -> tuple[float, Any]:
        with single_threaded_blas():
            sums = [self.plan.evaluate(images[part], labels[part]) for part in _parts(images)]
        return sum(loss for loss, _ in sums), sum(correct for _, correct in sums)

    def close(self) -> None:
        self.plan.close()


def _parts(images: Array) -> list[slice]:
    """The images in parts that a recording is kept for."""
    return [slice(i, i + MOST_IMAGES) for i in range(0, max(images.shape[0], 1), MOST_IMAGES)]
