"""Plans for arrays on a CUDA device: of a step as a program, or of the calls that its layers make."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.plan import InferencePlan, Placement, Task, TrainingPlan
from arraycnn.execution.recorded import RecordedTraining, Steps
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.execution.traceable import InferenceOnceSeen, program_plan
from arraycnn.execution.traced import TracedInference, TracedTraining
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
from arraycnn.program.steps import named
from arraycnn.training.step import CROSS_ENTROPY, Carry, predicts_by_kernel
from arraycnn.tree import map_leaves


class TabledTraining(TracedTraining):
    """A `TracedTraining` whose program reads and writes the tables itself: no kernel begins or ends a
    step."""

    def _step(self, recordings: Any) -> None:
        task, tables = self._task, recordings.tables
        count = tables.steps.shape[0]
        measures = tables.correct_counts if tables.measures is None else tables.measures
        arrays = {
            "images": recordings.part.images,
            "rows": tables.rows.reshape(count, tables.batch),
            "indices": tables.order.reshape(count, tables.batch),
            "labels": self._labels,
            "rate": tables.rates,
            "seed": self._seed,
            "step": tables.steps,
            "cursor": tables.cursor,
            "losses": tables.losses,
            "measures": measures,
            **named(self._carry),
        }
        if self._objective.weighted:
            arrays["weights"] = task.weights
        self._run_program(recordings, arrays, tables=count)


class DevicePlans:
    """The plans of what a launcher starts.

    Parameters
    ----------
    launcher : Launcher
    precision : str
        Of matrix products.
    steps : Steps
    backend : str
        In messages.
    """

    def __init__(self, launcher: Launcher, precision: str, steps: Steps, backend: str) -> None:
        self._launcher, self._precision = launcher, precision
        self._steps, self._backend = steps, backend

    def training_plan(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        """The plan of the step as a program, where that is all that the network does; else of its
        calls, or eager."""

        def screened(unsupported: Supported | None) -> Screened:
            trees = (
                task.network,
                task.optimizer,
                Carry(*(self._on_host(tree, task.network) for tree in carry)),
            )
            kind = tuple(task.images.shape[1:]), str(task.images.dtype) == "uint8", task.dtype
            return screened_training(*trees, *kind, unsupported, task.objective)

        def make(network: Layer) -> TrainingPlan:
            own = replace(task, network=network)
            kernels = cuda_kernels(self._launcher, self._precision)
            trees = Carry(*map(self._in_order, carry))
            return TabledTraining(
                *(self._launcher, self._steps, kernels, own, trees), render=CudaLaunches
            )

        found = self._program_plan("training", screened, make)
        if found is not None:
            return found
        if not task.is_plain:
            return EagerTraining(placement, task, carry)
        kernels = cuda_kernels(self._launcher, self._precision, in_place=True)
        return RecordedTraining(self._launcher, self._steps, kernels, task, carry)

    def inference_plan(
        self,
        placement: Placement,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        """The plan of the pass as a program, or as of training."""
        kernels = cuda_kernels(self._launcher, self._precision)

        def make(images: Array) -> InferencePlan | None:
            def screened(unsupported: Supported | None) -> Screened:
                shape, is_uint8 = tuple(images.shape[1:]), str(images.dtype) == "uint8"
                trees = self._on_host(params, network), self._on_host(state, network)
                return screened_inference(network, *trees, shape, is_uint8, dtype, unsupported)

            def plan(of: Layer) -> InferencePlan:
                made = TracedInference(
                    *(self._launcher, kernels, of, self._in_order(params), self._in_order(state)),
                    *(dtype,), render=CudaLaunches, loss=loss,
                )  # fmt: skip
                made.rehearse(images[:1])
                return made

            return self._program_plan("inference", screened, plan)

        otherwise: InferencePlan
        if predicts_by_kernel(loss):
            otherwise = RecordedInference(
                self._launcher, kernels, network, params, state, dtype, loss
            )
        else:
            otherwise = EagerInference(placement, network, params, state, dtype, loss)
        return InferenceOnceSeen(make, otherwise)

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
