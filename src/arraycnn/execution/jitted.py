"""The plan of training on JAX: the pure step as one function compiled by XLA.

What a layer's Python does beside arrays would be frozen with it: `arraycnn.program.screening` looks for
that, and such a layer runs as JAX executes it, between parts that are compiled (`jitted_parts`), as one
line says. No buffer is donated, so all that was handed in or out stays what it is. Batches are gathered
on the host, where arrays of JAX's CPU device can be read without a copy: so nothing depends on the size
of the set, and a source of images needs no other step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.data.image_source import ImageSource
from arraycnn.execution.at_work import Path
from arraycnn.execution.eager import EagerTraining
from arraycnn.execution.jitted_parts import JittedOptimizer, ordered, parted
from arraycnn.execution.plan import Placement, Task, TrainingPlan
from arraycnn.execution.streaming import Streaming
from arraycnn.execution.xla import (
    MOST_FUNCTIONS,
    cause_in,
    causes_of,
    kept,
    reading_errors,
    say_called,
    say_eager,
)
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import Array
from arraycnn.program.screening import screened_training
from arraycnn.program.steps import Form, training_program
from arraycnn.training.step import Batch, Carry, train_step


def training_plan(placement: Any, task: Task, carry: Carry) -> TrainingPlan:
    """The plan of ``task``: compiled, but for the layers whose step is more than its program."""
    if task.share is not None:
        say_eager("training", "what ranks share is summed between layers")
        return EagerTraining(placement, task, carry)
    image, uint8 = tuple(task.images.shape[1:]), str(task.images.dtype) == "uint8"
    trees = task.network, task.optimizer, carry
    found = screened_training(*trees, image, uint8, task.dtype, objective=task.objective)
    if found.cause is not None:
        say_eager("training", found.cause)
        return EagerTraining(placement, task, carry)
    return JittedTraining(placement, task, carry, causes_of(found.network))


class JittedTraining(EagerTraining):
    """A `TrainingPlan` that runs each step as one compiled function, or as several.

    Parameters
    ----------
    causes : dict of path to str
        The layers that run as they are written, and why.
    """

    def __init__(
        self, placement: Placement, task: Task, carry: Carry, causes: dict[Path, str]
    ) -> None:
        super().__init__(placement, task, carry)
        self._device = str(getattr(placement, "device_name", ""))
        self._rows = [_rows(self._placement, of) for of in (task.images, task.labels)]
        self._weights = None if task.weights is None else placement.to_numpy(task.weights)
        self._compiled: dict[tuple, Callable[..., Any]] = {}
        self._is_whole = True
        self._called: set[Path] = set()
        for path, cause in causes.items():
            self._call(path, cause)

    def _step(
        self, carry: Carry, number: int, batch: np.ndarray, rate: np.ndarray
    ) -> tuple[Carry, Array, Array]:
        while True:
            try:
                if not self._is_whole:
                    return super()._step(carry, number, batch, rate)
                return self._whole_step(carry, number, batch, rate)
            except reading_errors() as error:
                path, cause = cause_in(error)
                if not self._is_whole and self._runs is self._task:
                    raise  # nothing of it is compiled any more
                if path and path not in self._called:
                    self._call(path, cause)
                    continue
                say_eager("training", cause)
                self._is_whole, self._runs = False, self._task

    def _call(self, path: Path, cause: str) -> None:
        """Leave the layer at ``path`` as it is written."""
        say_called("training", cause)
        self._called.add(path)
        network, optimizer = parted(self._task.network, self._called), self._task.optimizer
        self._runs = replace(self._task, network=network, optimizer=JittedOptimizer(optimizer))
        self._is_whole = False

    def _whole_step(
        self, carry: Carry, number: int, batch: np.ndarray, rate: np.ndarray
    ) -> tuple[Carry, Array, Array]:
        images, labels = (rows(batch) for rows in self._rows)
        weights = None if self._weights is None else self._weights[batch]
        step = np.array([number], np.int32)
        after, loss, correct = self._function(carry, images)(
            *(carry, images, labels, rate, self._seed, step, batch, weights)
        )
        # A compiled function returns dicts in the order of their names.
        return Carry(*map(ordered, after, carry)), loss, correct

    def _function(self, carry: Carry, images: np.ndarray) -> Callable[..., Any]:
        kind = images.shape, images.dtype.name
        if kind not in self._compiled:
            if len(self._compiled) >= MOST_FUNCTIONS:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[kind] = self._made(carry, images)
        return self._compiled[kind]

    def _made(self, carry: Carry, images: np.ndarray) -> Callable[..., Any]:
        task, kernels = self._task, self._placement.kernels
        network, optimizer, dtype = task.network, task.optimizer, task.dtype
        batch = Form(images.shape, images.dtype)
        program = training_program(
            *(network, optimizer, carry, batch, len(images), dtype), objective=task.objective
        )

        def step(
            carry: Carry, images: Array, labels: Array, rate: Array, *drawn: Array
        ) -> tuple[Carry, Array, Array]:
            *random, weights = drawn
            context = Context(kernels, "train", dtype, Randomness(*random))
            batched = Batch(images, labels, weights), rate, context
            return train_step(network, optimizer, carry, *batched, task.loss, task.accumulate)

        return kept(step, program, "step", self._device, dtype)


def _rows(placement: Streaming, of: ImageSource) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the rows of ``of`` at indices, in memory that nobody else writes to."""
    if of.resident is None:
        return lambda indices: np.array(placement.read(of, indices))
    host = placement.to_numpy(of.resident)
    return lambda indices: host[indices]
