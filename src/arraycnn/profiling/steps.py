"""What makes steps of a model, or passes forward: as they are always run, and with a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arraycnn.backends import NumPy
from arraycnn.execution import InferencePlan, Task, TrainingPlan
from arraycnn.model.model import Model
from arraycnn.model.placing import placed_tree
from arraycnn.ops import Array
from arraycnn.ops.clock import Clock
from arraycnn.optimizers import Optimizer
from arraycnn.profiling.parts import Clocked
from arraycnn.training.machine_failures import GuardedTraining
from arraycnn.training.step import Carry

_BATCHES = 4
"""Of which a data set consists that steps take their images from."""


def trial_data(model: Model, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels, in the form that the model takes."""
    rng, count = np.random.default_rng(0), _BATCHES * batch_size
    form = model.intake.form
    images = rng.integers(0, 256, (count, *model.input_shape), np.uint8)
    if not form.takes_bytes:
        images = (images / 255).astype(model.dtype)
    shape, are_floating = model.loss.label_form(model.output_shape)
    if are_floating:
        return images, rng.uniform(size=(count, *shape)).astype(model.dtype)
    return images, rng.integers(0, model.classes, (count, *shape)).astype(np.int32)


class Steps:
    """Steps of ``model`` in ``mode`` "train" or "infer", which leave it as it is.

    Each way to make them is a function that is called with how many to make.
    """

    def __init__(
        self,
        model: Model,
        mode: str,
        batch_size: int,
        optimizer: Optimizer,
        images: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        self._model, self._mode = model, mode
        place = model.backend.asarray
        self._images = place(images[:batch_size])
        self._order = np.arange(batch_size, dtype=np.int32)
        form = model.seed, model.dtype, None, model.loss
        self._task = Task(model.network, optimizer, place(images), place(labels), *form)
        params, state = model.trees
        moments = placed_tree(optimizer.init(params), model.dtype, model.backend)
        self._carry = Carry(params, state, moments)
        self._plans: list[TrainingPlan | InferencePlan] = []

    def usual(self) -> Callable[[int], object]:
        """As they are always run."""
        return self._of(self._model.backend, self._images)

    def clocked(self) -> tuple[Clocked | None, Clocked | None]:
        """With a look at the clock before each part; and the same with chains apart, if there are."""
        backend = self._model.backend
        if not isinstance(backend, NumPy):
            return None, None
        clock, other = Clock(), Clock()
        plans = backend.clocked_plans(clock, joins=True)
        images = self._images[: plans.most_images]
        timed = Clocked(clock, self._of(plans, images, backend))
        if not plans.has_chains:
            return timed, None
        apart = backend.clocked_plans(other, joins=False)
        return timed, Clocked(other, self._of(apart, images, backend))

    def close(self) -> None:
        """Give back what was recorded for these steps."""
        for plan in self._plans:
            plan.close()

    def _of(self, plans: Any, images: Array, *first: Any) -> Callable[[int], object]:
        """With the plans of a backend, or those that take a backend first; passes are of ``images``."""
        model = self._model
        if self._mode == "train":
            made: TrainingPlan = plans.training_plan(*first, self._task, self._carry)
            self._plans.append(made)
            return _training(GuardedTraining(made, model.backend), self._order)
        of_model = model.network, *model.trees, model.dtype, model.loss
        passes: InferencePlan = plans.inference_plan(*first, *of_model)
        self._plans.append(passes)
        return _passes(passes, images)


def _training(plan: TrainingPlan, order: np.ndarray) -> Callable[[int], object]:
    return lambda times: plan.run(0, [order] * times, np.zeros(times))


def _passes(plan: InferencePlan, images: Array) -> Callable[[int], object]:
    def run(times: int) -> None:
        for _ in range(times):
            plan.predict(images)

    return run
