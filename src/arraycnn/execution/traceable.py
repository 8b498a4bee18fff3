"""What a network that may be traced is run by: its program, or one layer after the other.

What cannot be traced, or does more than its program, is named in one line.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import numpy as np

from arraycnn.errors import one_line
from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.plan import InferencePlan, Placement, Task, TrainingPlan
from arraycnn.execution.recordable import Render
from arraycnn.execution.recorded_inference import RecordedInference
from arraycnn.layers.layer import Layer, Shape, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array
from arraycnn.program.nodes import Program
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.layout import UnsupportedError
from arraycnn.program.screening import (
    Screened,
    Supported,
    screened_inference,
    screened_training,
)
from arraycnn.program.steps import opaque_layers
from arraycnn.program.trace import TracingError
from arraycnn.training.step import CROSS_ENTROPY, Carry

Plan = TypeVar("Plan", TrainingPlan, InferencePlan)


class ProgramPlans(ABC):
    """Plans of a step as a program, where that is all that a network does; else it runs layer by layer.

    A subclass says how an engine runs a program.

    Attributes
    ----------
    backend : str
        In messages.
    how : str
        In what way a network that cannot be traced is not run.
    """

    backend = "numpy"
    how = ""
    _render: Render

    @abstractmethod
    def recorded_training(self, task: Task, carry: Carry) -> TrainingPlan:
        """The plan of a step that can be a program."""

    @abstractmethod
    def recorded_inference(
        self, network: Layer, params: Tree, state: Tree, dtype: str, loss: Loss
    ) -> RecordedInference:
        """The plan of a pass that can be a program."""

    def rehearsing(self) -> AbstractContextManager[object]:
        """What the first run of a plan is in."""
        return nullcontext()

    def _on_host(self, tree: Tree, network: Layer) -> Tree:
        """``tree`` as NumPy arrays, for a trial of ``network``."""
        return tree

    def training_plan(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        """The plan of the step as a program, where that is all that the network does, or eager."""

        def screened(unsupported: Supported | None) -> Screened:
            host = Carry(*(self._on_host(tree, task.network) for tree in carry))
            kind = *_kind_of(task.images), task.dtype
            trees = task.network, task.optimizer, host
            return screened_training(*trees, *kind, unsupported, task.objective)

        def plan(network: Layer) -> TrainingPlan:
            return self.recorded_training(replace(task, network=network), carry)

        found = self._program_plan("training", screened, plan)
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
                trees = self._on_host(params, network), self._on_host(state, network)
                return screened_inference(network, *trees, *_kind_of(images), dtype, unsupported)

            def plan(of: Layer) -> InferencePlan:
                made = self.recorded_inference(of, params, state, dtype, loss)
                with self.rehearsing():
                    made.rehearse(images[:1])
                return made

            return self._program_plan("inference", screened, plan)

        eager = EagerInference(placement, network, params, state, dtype, loss)
        return _OnceSeen(make, eager)

    def _program_plan(
        self,
        what: str,
        screened: Callable[[Supported | None], Screened],
        plan: Callable[[Layer], Plan],
    ) -> Plan | None:
        """``plan`` of the screened network; None, once it was said, where that is no program.

        For which layers there is no code is asked only where there is none for something.
        """
        cause = None
        for judge in (None, self._unsupported):
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
                    self.backend,
                )
            return made
        say(f"{what} runs layer by layer{self.how}: {cause}", self.backend)
        return None

    def _unsupported(self, program: Program) -> str | None:
        try:
            self._render(scheduled(simplified(program)))
        except UnsupportedError as error:
            return one_line(error)
        return None


def _kind_of(images: Any) -> tuple[Shape, bool]:
    """The shape of an image, and whether it is of uint8."""
    return tuple(images.shape[1:]), str(images.dtype) == "uint8"


class _OnceSeen:
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
