"""What a network that may be traced is run by: its program, or one layer after the other.

What cannot be traced, or does more than its program, is named in one line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache

import numpy as np

from arraycnn.errors import one_line
from arraycnn.execution.plan import InferencePlan, Task, TrainingPlan
from arraycnn.layers.layer import Layer, Tree
from arraycnn.program.effects import cause_against_inference, cause_against_training
from arraycnn.program.render.layout import UnsupportedError
from arraycnn.program.trace import TracingError
from arraycnn.training import Carry


def training_or_cause(
    task: Task, carry: Carry, make: Callable[[], TrainingPlan]
) -> TrainingPlan | str:
    """The plan that ``make`` makes of the traced step, or why there is none."""
    uint8, shape = str(task.images.dtype) == "uint8", tuple(task.images.shape[1:])
    cause = cause_against_training(task.network, task.optimizer, carry, shape, uint8)
    if cause is not None:
        return cause
    try:
        return make()
    except (TracingError, UnsupportedError) as error:
        return one_line(error)


class InferenceOnceSeen:
    """An `InferencePlan` that is chosen when the shape of an image is known: by the first call."""

    def __init__(
        self,
        network: Layer,
        trees: tuple[Tree, Tree],
        make: Callable[[], InferencePlan],
        eager: InferencePlan,
        how: str,
        rehearsing: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._network, self._trees = network, trees
        self._make, self._eager, self._how = make, eager, how
        self._rehearsing = rehearsing
        self._plans: dict[tuple, InferencePlan] = {}

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self._plan(images).predict(images)

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
        return self._plan(images).evaluate(images, labels)

    def _plan(self, images: np.ndarray) -> InferencePlan:
        kind = images.shape[1:], images.dtype.name
        if kind not in self._plans:
            self._plans[kind] = self._chosen(images)
        return self._plans[kind]

    def _chosen(self, images: np.ndarray) -> InferencePlan:
        shape, uint8 = images.shape[1:], images.dtype == np.uint8
        cause = cause_against_inference(self._network, *self._trees, shape, uint8)
        if cause is None:
            try:
                plan = self._make()
                with self._rehearsing():
                    plan.predict(images[:1])
                return plan
            except (TracingError, UnsupportedError) as error:
                cause = one_line(error)
        say(f"inference runs layer by layer{self._how}: {cause}")
        return self._eager


@cache
def say(message: str) -> None:
    """Once a process for each network and cause."""
    logging.getLogger("arraycnn").warning("numpy: %s", message)
