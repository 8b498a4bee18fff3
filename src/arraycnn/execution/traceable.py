"""What a network that may be traced is run by: its program, or one layer after the other.

What cannot be traced, or does more than its program, is named in one line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np

from arraycnn.errors import one_line
from arraycnn.execution.plan import InferencePlan, TrainingPlan
from arraycnn.execution.recordable import Render
from arraycnn.layers.layer import Layer
from arraycnn.program.nodes import Program
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.layout import UnsupportedError
from arraycnn.program.screening import Screened, Supported
from arraycnn.program.steps import opaque_layers
from arraycnn.program.trace import TracingError

Plan = TypeVar("Plan", TrainingPlan, InferencePlan)


def program_plan(
    what: str,
    how: str,
    screened: Callable[[Supported | None], Screened],
    plan: Callable[[Layer], Plan],
    render: Render,
    backend: str = "numpy",
) -> Plan | None:
    """``plan`` of the screened network; None, once it was said, where that is no program.

    For which layers ``render`` has no code is asked only where it has none for something.
    """

    def unsupported(program: Program) -> str | None:
        try:
            render(scheduled(simplified(program)))
        except UnsupportedError as error:
            return one_line(error)
        return None

    cause = None
    for judge in (None, unsupported):
        found = screened(judge)
        if found.cause is not None:
            cause = found.cause
            break
        try:
            made = plan(found.network)
        except (TracingError, UnsupportedError) as error:
            cause = one_line(error)
            continue
        for layer in opaque_layers(found.network):
            say(
                f"{what} calls a layer as it is written, the rest is one program: {layer.cause}",
                backend,
            )
        return made
    say(f"{what} runs layer by layer{how}: {cause}", backend)
    return None


class InferenceOnceSeen:
    """An `InferencePlan` that is chosen when the shape of an image is known: by the first call."""

    def __init__(
        self, make: Callable[[np.ndarray], InferencePlan | None], eager: InferencePlan
    ) -> None:
        self._make, self._eager = make, eager
        self._plans: dict[tuple, InferencePlan] = {}

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self._plan(images).predict(images)

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, Any]:
        return self._plan(images).evaluate(images, labels)

    def close(self) -> None:
        for plan in (*self._plans.values(), self._eager):
            plan.close()

    def _plan(self, images: np.ndarray) -> InferencePlan:
        kind = images.shape[1:], images.dtype.name
        if kind not in self._plans:
            self._plans[kind] = self._make(images) or self._eager
        return self._plans[kind]


@cache
def say(message: str, backend: str = "numpy") -> None:
    """Once a process for each network and cause."""
    logging.getLogger("arraycnn").warning("%s: %s", backend, message)
