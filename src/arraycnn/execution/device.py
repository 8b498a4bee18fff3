"""Plans for arrays on a CUDA device: of a step as a program, or layer by layer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.plan import InferencePlan, Placement, Task, TrainingPlan
from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.execution.traceable import InferenceOnceSeen, program_plan
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.program.render.cuda.launches import CudaLaunches
from arraycnn.program.screening import (
    Screened,
    Supported,
    is_of_the_library,
    screened_inference,
    screened_training,
)
from arraycnn.training.step import CROSS_ENTROPY, Carry
from arraycnn.tree import map_leaves


class DevicePlans:
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
        self._launcher, self._backend = launcher, backend
        self._kernels = cuda_kernels(launcher, precision)

    def training_plan(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        """The plan of the step as a program, where that is all that the network does, or eager."""

        def screened(unsupported: Supported | None) -> Screened:
            trees = (
                task.network,
                task.optimizer,
                Carry(*(self._on_host(tree, task.network) for tree in carry)),
            )
            kind = tuple(task.images.shape[1:]), str(task.images.dtype) == "uint8", task.dtype
            return screened_training(*trees, *kind, unsupported, task.objective)

        def make(network: Layer) -> TrainingPlan:
            own, trees = replace(task, network=network), Carry(*map(self._in_order, carry))
            # No kernel begins or ends a step: its program reads and writes the tables.
            return RecordedTraining(
                self._launcher, None, self._kernels, own, trees, render=CudaLaunches
            )

        found = self._program_plan("training", screened, make)
        return EagerTraining(placement, task, carry) if found is None else found

    def inference_plan(
        self,
        placement: Placement,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        """The plan of the pass as a program, where that is all that the network does, or eager."""

        def make(images: Array) -> InferencePlan | None:
            def screened(unsupported: Supported | None) -> Screened:
                shape, is_uint8 = tuple(images.shape[1:]), str(images.dtype) == "uint8"
                trees = self._on_host(params, network), self._on_host(state, network)
                return screened_inference(network, *trees, shape, is_uint8, dtype, unsupported)

            def plan(of: Layer) -> InferencePlan:
                made = RecordedInference(
                    *(self._launcher, self._kernels, of),
                    *(self._in_order(params), self._in_order(state), dtype),
                    render=CudaLaunches,
                    loss=loss,
                )
                made.rehearse(images[:1])
                return made

            return self._program_plan("inference", screened, plan)

        eager = EagerInference(placement, network, params, state, dtype, loss)
        return InferenceOnceSeen(make, eager)

    def _program_plan(
        self, what: str, screened: Callable[[Supported | None], Screened], plan: Callable
    ) -> Any:
        return program_plan(what, "", screened, plan, CudaLaunches, self._backend)

    def _in_order(self, tree: Tree) -> Tree:
        return map_leaves(self._launcher.contiguous, tree)

    def _on_host(self, tree: Tree, network: Layer) -> Tree:
        """``tree`` for a trial on the host; of the library's own layers, it is of shapes alone."""
        if is_of_the_library(network):
            return map_leaves(lambda leaf: np.zeros(leaf.shape, str(leaf.dtype)), tree)
        return map_leaves(self._launcher.to_numpy, tree)
