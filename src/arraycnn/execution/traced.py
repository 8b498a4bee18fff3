"""Plans of traced steps: any network whose step is a program, as one list of launches.

As `RecordedTraining` and `RecordedInference`, but what is recorded is the rendered program of the
step (`arraycnn.program`), not the calls that layers make. What cannot be part of a program is called
as it is written, in its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.ops.step_tables import StepTables
from arraycnn.program.compose import inference_schedule, training_schedule
from arraycnn.program.memo import rendered_of
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.steps import named
from arraycnn.training.step import CROSS_ENTROPY, Carry, infer

_MOST_SIZES = 8
"""Batch sizes for which a traced step is kept."""


class Rendered(Protocol):
    """A schedule as launches, or as calls."""

    def __call__(
        self, launcher: Any, ops: Kernels, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[Any]]:
        """Make or record them: the outputs by name, and what is to be held with the recording."""


Render: TypeAlias = Callable[[Schedule, str], Rendered]
"""A schedule and the step's dtype, rendered."""


def _rendered(render: Render, schedule: Schedule, dtype: str) -> Rendered:
    """Kept for the next plan, unless there are calls: these are of one plan's layers."""
    has_calls = any(step.is_call for step in schedule.steps)
    return render(schedule, dtype) if has_calls else rendered_of(render, schedule, dtype)


class TracedTraining(RecordedTraining):
    """A `TrainingPlan` of any step that can be traced, of a user's optimizer too.

    Parameters
    ----------
    render : Render
        The others are those of `RecordedTraining`.
    """

    def __init__(self, *arguments: Any, render: Render) -> None:
        super().__init__(*arguments)
        self._render = render
        self._rendered: dict[int, Rendered] = {}
        self._kept: list[Any] = []
        self._objective = self._task.objective
        # The kernels that begin and end a step take class numbers and correct; others are the
        # program's.
        self._numbers, self._no_correct = self._labels, None
        if not self._objective.are_numbers:
            self._numbers = self._launcher.asarray(np.zeros(self._labels.shape[:1], np.int32))
        if not self._objective.has_kernel:
            self._no_correct = self._launcher.asarray(np.zeros((), np.int32))

    def rehearse(self, batches: Sequence[np.ndarray]) -> None:
        with self._launcher.rehearsing():  # type: ignore[attr-defined]
            super().rehearse(batches)

    def _rehearse(self, recordings: Any) -> None:
        with self._launcher.rehearsing():  # type: ignore[attr-defined]
            super()._rehearse(recordings)

    def _replay(self, graph: Callable[[], None]) -> None:
        launcher: Any = self._launcher
        launcher.is_calling = False
        try:
            super()._replay(graph)
        except BaseException:
            # What a step changes, it changes after its last call: nothing is half done.
            self._torn = self._torn and not launcher.is_calling
            raise

    def close(self) -> None:
        super().close()
        self._kept.clear()

    def _step(self, recordings: Any) -> None:
        task, tables, launcher = self._task, recordings.tables, self._launcher
        indices, rows, labels, step, rate = self._steps.begin_step(launcher, tables, self._numbers)
        arrays = {
            "images": recordings.part.images,
            "rows": rows,
            "labels": labels if self._objective.are_numbers else self._labels,
            "indices": indices,
            "rate": rate,
            "seed": self._seed,
            "step": step,
            **named(self._carry),
        }
        if self._objective.weighted:
            arrays["weights"] = task.weights
        if self._no_correct is not None:
            arrays |= {"cursor": tables.cursor, "measures": tables.measures}
        noted = 0 if self._no_correct is None else tables.measures.shape[0]
        outputs = self._run_program(recordings, arrays, noted=noted)
        # The program's loss is a mean already.
        mean = replace(tables, batch=1)
        correct = outputs["correct"] if self._no_correct is None else self._no_correct
        self._steps.finish_step(launcher, mean, outputs["loss"], correct)

    def _run_program(
        self, recordings: Any, arrays: dict[str, Array], noted: int = 0, tables: int = 0
    ) -> dict[str, Any]:
        """The outputs by name; ``noted`` and ``tables`` as of `training_program`."""
        task, batch = self._task, recordings.tables.batch
        if batch not in self._rendered:
            schedule = training_schedule(
                *(task.network, task.optimizer, self._carry, arrays["images"], batch, task.dtype),
                gather=True,
                objective=self._objective,
                whole=task.labels.shape[0],
                noted=noted,
                tables=tables,
            )
            self._rendered[batch] = _rendered(self._render, schedule, task.dtype)
        outputs, held = self._rendered[batch](self._launcher, self._kernels, arrays)
        self._kept.append(held)  # what recordings point to
        return outputs

    def _new_tables(self, batch: int) -> StepTables:
        tables = super()._new_tables(batch)
        if self._no_correct is None:
            return tables
        measures = self._launcher.empty(tables.losses.shape, self._task.dtype)
        measures[...] = 0.0
        return replace(tables, measures=measures)


class TracedInference(RecordedInference):
    """An `InferencePlan` of any network that can be traced; ``render`` as in `TracedTraining`."""

    def __init__(
        self,
        launcher: Any,
        kernels: Kernels,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        *,
        render: Render,
        loss: Loss = CROSS_ENTROPY,
    ) -> None:
        super().__init__(launcher, kernels, network, params, state, dtype, loss)
        self._whole, self._dtype, self._render = network, dtype, render
        self._rendered: dict[tuple, Rendered] = {}

    def rehearse(self, images: Array) -> None:
        with self._launcher.rehearsing():  # type: ignore[attr-defined]
            super().rehearse(images)

    def _outputs(self, images: Array) -> list[Array]:
        if 0 in images.shape:
            logits = infer(self._whole, self._params, self._state, images, self._context)
            return [logits, self._loss.predictions(self._context.ops, logits)]
        return super()._outputs(images)

    def _forward(self, images: np.ndarray) -> list[Any]:
        kind = images.shape, images.dtype.name
        if kind not in self._rendered:
            if len(self._rendered) == _MOST_SIZES:
                del self._rendered[next(iter(self._rendered))]
            trees = self._params, self._state
            schedule = inference_schedule(self._whole, *trees, images, self._dtype, self._loss)
            self._rendered[kind] = _rendered(self._render, schedule, self._dtype)
        arrays = {"images": images, **named(Carry(self._params, self._state, {}))}
        outputs, kept = self._rendered[kind](self._launcher, self._context.ops, arrays)
        return [outputs["logits"], outputs["probabilities"], kept]
