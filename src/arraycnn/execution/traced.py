"""Plans of traced steps: any network whose step is a program, as one list of launches.

As `RecordedTraining` and `RecordedInference`, but what is recorded is the rendered program of the
step (`arraycnn.program`), not the calls that layers make.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.layers.layer import Layer, Tree
from arraycnn.ops import Array, Kernels
from arraycnn.program.compose import inference_schedule, training_schedule
from arraycnn.program.memo import launches_of
from arraycnn.program.render.launching import Launches
from arraycnn.program.steps import named
from arraycnn.training import Carry, infer

_MOST_SIZES = 8
"""Batch sizes for which a traced step is kept."""


class TracedTraining(RecordedTraining):
    """A `TrainingPlan` of any step that can be traced, of a user's optimizer too."""

    _launches: dict[int, Launches] | None = None
    _kept: list[Any] | None = None

    def _step(self, recordings: Any) -> None:
        task, tables, launcher = self._task, recordings.tables, self._launcher
        indices, rows, labels, step, rate = self._steps.begin_step(launcher, tables, self._labels)
        images = recordings.part.images
        arrays = {
            "images": images,
            "rows": rows,
            "labels": labels,
            "indices": indices,
            "rate": rate,
            "seed": self._seed,
            "step": step,
            **named(self._carry),
        }
        self._launches = self._launches or {}
        if tables.batch not in self._launches:
            schedule = training_schedule(
                *(task.network, task.optimizer, self._carry, images, tables.batch, task.dtype),
                gather=True,
            )
            self._launches[tables.batch] = launches_of(schedule, task.dtype)
        outputs, kept = self._launches[tables.batch](launcher, self._kernels, arrays)  # type: ignore[arg-type]
        self._kept = self._kept or []
        self._kept.append(kept)  # what recordings point to
        # The program's loss is a mean already.
        mean = replace(tables, batch=1)
        self._steps.finish_step(launcher, mean, outputs["loss"], outputs["correct"])


class TracedInference(RecordedInference):
    """An `InferencePlan` of any network that can be traced."""

    def __init__(
        self, launcher: Any, kernels: Kernels, network: Layer, params: Tree, state: Tree, dtype: str
    ) -> None:
        super().__init__(launcher, kernels, network, params, state, dtype)
        self._whole, self._dtype = network, dtype
        self._launches: dict[tuple, Launches] = {}

    def _outputs(self, images: Array) -> list[Array]:
        if 0 in images.shape:
            logits = infer(self._whole, self._params, self._state, images, self._context)
            return [logits, self._context.ops.softmax(logits)]
        return super()._outputs(images)

    def _forward(self, images: np.ndarray) -> list[Any]:
        kind = images.shape, images.dtype.name
        if kind not in self._launches:
            if len(self._launches) == _MOST_SIZES:
                del self._launches[next(iter(self._launches))]
            trees = self._params, self._state
            schedule = inference_schedule(self._whole, *trees, images, self._dtype)
            self._launches[kind] = launches_of(schedule, self._dtype)
        arrays = {"images": images, **named(Carry(self._params, self._state, {}))}
        outputs, kept = self._launches[kind](self._launcher, self._context.ops, arrays)  # type: ignore[arg-type]
        return [outputs["logits"], outputs["probabilities"], kept]
