"""Plans for arrays on a CUDA device: of a step as a program, or layer by layer."""

import numpy as np

from arraycnn.execution.plan import Task, TrainingPlan
from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.execution.traceable import ProgramPlans
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.program.render.cuda.launches import CudaLaunches
from arraycnn.program.screening import is_of_the_library
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves


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

    _render = CudaLaunches

    def __init__(self, launcher: Launcher, precision: str, backend: str) -> None:
        self._launcher, self.backend = launcher, backend
        self._kernels = cuda_kernels(launcher, precision)

    def recorded_training(self, task: Task, carry: Carry) -> TrainingPlan:
        carry = Carry(*map(self._in_order, carry))
        # No kernel begins or ends a step: its program reads and writes the tables.
        return RecordedTraining(
            self._launcher, None, self._kernels, task, carry, render=self._render
        )

    def recorded_inference(
        self, network: Layer, params: Tree, state: Tree, dtype: str, loss: Loss
    ) -> RecordedInference:
        trees = self._in_order(params), self._in_order(state)
        return RecordedInference(
            *(self._launcher, self._kernels, network, *trees, dtype), render=self._render, loss=loss
        )

    def _in_order(self, tree: Tree) -> Tree:
        return map_leaves(self._launcher.contiguous, tree)

    def _on_host(self, tree: Tree, network: Layer) -> Tree:
        """Of the library's own layers, it is of shapes alone."""
        if is_of_the_library(network):
            return map_leaves(lambda leaf: np.zeros(leaf.shape, str(leaf.dtype)), tree)
        return map_leaves(self._launcher.to_numpy, tree)
