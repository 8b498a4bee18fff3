"""Plans for JAX: the pure step, and a pass forward, each as one function compiled by XLA.

What a layer's Python does beside arrays would be frozen with it: `arraycnn.program.effects` looks for
that, and such a network runs as JAX executes it, operation by operation, as one line says. No buffer
is donated, so all that was handed in or out stays what it is. Batches are gathered on the host, where
arrays of JAX's CPU device can be read without a copy: so nothing depends on the size of the set, and
a source of images needs no other step.
"""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from arraycnn.data.image_source import ImageSource
from arraycnn.errors import one_line
from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.plan import Placement, Task, TrainingPlan
from arraycnn.execution.streaming import Streaming
from arraycnn.execution.traceable import say
from arraycnn.layers.layer import Context, Layer, Randomness, Tree
from arraycnn.ops import Array
from arraycnn.program.effects import cause_against_inference, cause_against_training
from arraycnn.program.memo import key_of
from arraycnn.program.nodes import Program
from arraycnn.program.steps import Form, inference_program, training_program
from arraycnn.program.trace import TracingError
from arraycnn.training import Carry, evaluate_batch, infer, train_step

MOST_FUNCTIONS = 32
"""Compiled steps and passes that a process keeps, each for one program and size of batch."""

_functions: OrderedDict[tuple, Callable[..., Any]] = OrderedDict()


def training_plan(placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
    """The plan of ``task``: compiled, where its step is all that the network does."""
    image, uint8 = tuple(task.images.shape[1:]), str(task.images.dtype) == "uint8"
    cause = cause_against_training(task.network, task.optimizer, carry, image, uint8)
    if cause is None:
        return JittedTraining(placement, task, carry)
    _say("training", cause)
    return EagerTraining(placement, task, carry)


class JittedTraining(EagerTraining):
    """A `TrainingPlan` that runs each step as one compiled function."""

    def __init__(self, placement: Placement, task: Task, carry: Carry) -> None:
        super().__init__(placement, task, carry)
        self._rows = [_rows(self._placement, of) for of in (task.images, task.labels)]
        self._weights = None if task.weights is None else placement.to_numpy(task.weights)
        self._compiled: dict[tuple, Callable[..., Any]] = {}
        self._can_compile = True

    def _step(
        self, carry: Carry, number: int, batch: np.ndarray, rate: np.ndarray
    ) -> tuple[Carry, Array, Array]:
        if not self._can_compile:
            return super()._step(carry, number, batch, rate)
        images, labels = (rows(batch) for rows in self._rows)
        weights = None if self._weights is None else self._weights[batch]
        step = np.array([number], np.int32)
        try:
            after, loss, correct = self._function(carry, images)(
                *(carry, images, labels, rate, self._seed, step, batch, weights)
            )
        except _reading_errors() as error:
            _say("training", _cause(error))
            self._can_compile = False
            return super()._step(carry, number, batch, rate)
        # A compiled function returns dicts in the order of their names.
        return Carry(*map(_ordered, after, carry)), loss, correct

    def _function(self, carry: Carry, images: np.ndarray) -> Callable[..., Any]:
        kind = images.shape, images.dtype.name
        if kind not in self._compiled:
            self._compiled[kind] = self._made(carry, images)
        return self._compiled[kind]

    def _made(self, carry: Carry, images: np.ndarray) -> Callable[..., Any]:
        task, kernels = self._task, self._placement.kernels
        network, optimizer, dtype = task.network, task.optimizer, task.dtype
        batch = Form(images.shape, images.dtype)
        program = training_program(network, optimizer, carry, batch, len(images), dtype)

        def step(
            carry: Carry, images: Array, labels: Array, rate: Array, *drawn: Array
        ) -> tuple[Carry, Array, Array]:
            *random, weights = drawn
            context = Context(kernels, "train", dtype, Randomness(*random))
            return train_step(network, optimizer, carry, images, labels, rate, context, weights)

        return _jitted(step, program, "step", dtype, task.weights is None)


class JittedInference(EagerInference):
    """An `InferencePlan` that runs each pass as one compiled function."""

    def __init__(
        self, placement: Placement, network: Layer, params: Tree, state: Tree, dtype: str
    ) -> None:
        super().__init__(placement, network, params, state, dtype)
        self._dtype = dtype
        self._compiled: dict[tuple, tuple[Callable[..., Any], Callable[..., Any]] | None] = {}

    def predict(self, images: Array) -> np.ndarray:
        try:
            if (functions := self._functions(images)) is not None:
                found = functions[0](self._params, self._state, images)
                return self._placement.to_numpy(found)
        except _reading_errors() as error:
            self._give_up(images, error)
        return super().predict(images)

    def evaluate(self, images: Array, labels: Array) -> tuple[float, int]:
        try:
            if (functions := self._functions(images)) is not None:
                loss_sum, correct = functions[1](self._params, self._state, images, labels)
                return float(loss_sum), int(correct)
        except _reading_errors() as error:
            self._give_up(images, error)
        return super().evaluate(images, labels)

    def _functions(self, images: Array) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
        """What gives probabilities, and what gives loss and hits; None where nothing compiled does."""
        kind = tuple(images.shape), str(images.dtype)
        if kind not in self._compiled:
            if len(self._compiled) >= MOST_FUNCTIONS:
                self._compiled.clear()
            self._compiled[kind] = self._made(images)
        return self._compiled[kind]

    def _made(self, images: Array) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
        if 0 in images.shape:
            return None
        network, trees, context = self._network, (self._params, self._state), self._context
        uint8 = str(images.dtype) == "uint8"
        cause = cause_against_inference(network, *trees, tuple(images.shape[1:]), uint8)
        if cause is not None:
            _say("inference", cause)
            return None
        form = Form(tuple(images.shape), np.dtype(str(images.dtype)))
        program = inference_program(network, *trees, form, self._dtype)

        def predict(params: Tree, state: Tree, images: Array) -> Array:
            return context.ops.softmax(infer(network, params, state, images, context))

        def evaluate(params: Tree, state: Tree, images: Array, labels: Array) -> tuple:
            return evaluate_batch(network, params, state, images, labels, context)

        return (
            _jitted(predict, program, "predict", self._dtype),
            _jitted(evaluate, program, "evaluate", self._dtype),
        )

    def _give_up(self, images: Array, error: Exception) -> None:
        _say("inference", _cause(error))
        self._compiled[tuple(images.shape), str(images.dtype)] = None


def _jitted(function: Callable[..., Any], program: Program, *more: Any) -> Callable[..., Any]:
    """``function`` compiled, or one that was before, of the same program and ``more``."""
    import jax

    known = key_of(program)
    if known is None:
        return jax.jit(function)
    key = known, *more
    found = _functions.pop(key) if key in _functions else jax.jit(function)
    _functions[key] = found  # as the newest
    while len(_functions) > MOST_FUNCTIONS:
        _functions.popitem(last=False)
    return found


def _rows(placement: Streaming, of: ImageSource) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the rows of ``of`` at indices, in memory that nobody else writes to."""
    if of.resident is None:
        return lambda indices: np.array(placement.read(of, indices))
    host = placement.to_numpy(of.resident)
    return lambda indices: host[indices]


def _ordered(tree: Tree, like: Tree) -> Tree:
    """``tree`` with its names in the order that they have in ``like``."""
    names = [name for name in like if name in tree]
    names += [name for name in tree if name not in like]
    return {
        name: _ordered(tree[name], like.get(name, {}))
        if isinstance(tree[name], dict)
        else tree[name]
        for name in names
    }


@cache
def _reading_errors() -> tuple[type[Exception], ...]:
    """What is raised where a value is read that a traced step does not have yet."""
    import jax

    return TracingError, jax.errors.JAXTypeError, jax.errors.JAXIndexError


def _cause(error: Exception) -> str:
    """The layer at work, and what JAX says."""
    if isinstance(error, TracingError):
        return one_line(error)
    owner = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        contexts = [value for value in frame.f_locals.values() if isinstance(value, Context)]
        layer = frame.f_locals.get("self")
        if contexts and hasattr(layer, "forward"):
            path = ".".join(contexts[0].path)
            owner = f"layer {path}, {type(layer).__name__}: " if path else ""
    return owner + one_line(error).partition(". ")[0]


def _say(what: str, cause: str) -> None:
    say(f"{what} runs layer by layer, not compiled: {cause}", "jax")
