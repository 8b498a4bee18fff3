"""Whether a program is all that a network does: what its Python does beside arrays is no part of it.

A layer with a counter, or with random numbers of its own, is found by tracing twice; one that does
something else for NumPy's arrays than for traced ones, by a step of the eager plan in float64. What
changes later, as after the hundredth call, cannot be found. All is tried on copies of the layers, so
that a counter of theirs counts the steps of the training alone.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from arraycnn.errors import one_line
from arraycnn.layers.layer import Context, Layer, Randomness, Tree
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from arraycnn.optimizers import Optimizer
from arraycnn.program.interpret import interpret
from arraycnn.program.nodes import Program
from arraycnn.program.opaque import Opaque, Remembering
from arraycnn.program.steps import inference_program, named, rebuilt, training_program
from arraycnn.program.text import definition
from arraycnn.program.trace import TracingError
from arraycnn.training.step import CLASSIFICATION, Batch, Carry, Objective, infer, train_step
from arraycnn.tree import map_leaves

_IMAGES = 2
_SAME = {"float64": 1e-9, "float32": 1e-3}

T = TypeVar("T")


def cause_against_training(
    network: Layer,
    optimizer: Optimizer,
    carry: Carry,
    image: tuple[int, ...],
    uint8: bool,
    dtype: str = "float64",
    objective: Objective = CLASSIFICATION,
    trusted: bool = False,
) -> str | None:
    """Why a training step is more than its program; None where it is the same.

    ``trusted`` : whether all does nothing but compute, so that to be traced is enough.
    """
    network, optimizer = _for_a_trial(network), copied(optimizer)
    objective = replace(objective, loss=copied(objective.loss), accumulate=1)
    carry = Carry(*(in_dtype(tree, dtype) for tree in carry))
    given = {**trial_batch(image, uint8, dtype, objective), "rate": np.asarray(0.01, dtype)}

    def traced() -> Program:
        batch = (given["images"], _IMAGES)
        return training_program(network, optimizer, carry, *batch, dtype, objective=objective)

    def eager() -> dict[str, Any]:
        after, loss, correct = train_step(
            *(network, optimizer, carry),
            Batch(given["images"], given["labels"], given.get("weights")),
            *(given["rate"], trial_context("train", dtype, given), objective.loss),
        )
        return {"loss": loss, "correct": correct, **named(after)}

    return cause_against(traced, eager, {**given, **named(carry)}, dtype, trusted)


def cause_against_inference(
    network: Layer,
    params: Tree,
    state: Tree,
    image: tuple[int, ...],
    uint8: bool,
    dtype: str = "float64",
    trusted: bool = False,
) -> str | None:
    """The same of a pass forward."""
    network = _for_a_trial(network)
    params, state = in_dtype(params, dtype), in_dtype(state, dtype)
    images = trial_batch(image, uint8, dtype)["images"]

    def traced() -> Program:
        return inference_program(network, params, state, images, dtype)

    def eager() -> dict[str, Any]:
        return {"logits": infer(network, params, state, images, trial_context("infer", dtype, {}))}

    return cause_against(
        traced, eager, {"images": images, **named(Carry(params, state, {}))}, dtype, trusted
    )


@np.errstate(all="ignore")
def cause_against(
    traced: Callable[[], Program],
    eager: Callable[[], dict[str, Any]],
    values: Mapping[str, Any],
    dtype: str,
    trusted: bool = False,
) -> str | None:
    """Why what ``traced`` gives is not all that ``eager`` computes from ``values``."""
    with random_numbers_kept():
        try:
            first = traced()
            if trusted:
                return None
            second = traced()
        except TracingError as error:
            return one_line(error)
        if (place := _first_difference(first, second)) is not None:
            return (
                f"{place}: does something else each time it is called (a counter, random numbers)"
            )
        try:
            expected = eager()
            got = interpret(first, values)
        except Exception as error:  # the plan that runs it will raise it
            return one_line(error)
    same = _SAME[dtype]
    for name, array in expected.items():
        if not np.allclose(got[name], array, rtol=same, atol=same, equal_nan=True):
            return f"{name} is not what the layers compute on NumPy's own arrays"
    return None


def copied(layer: T) -> T:
    """A copy of all that ``layer`` holds; the layer itself where it holds what has none."""
    try:
        return copy.deepcopy(layer)
    except Exception:  # a lock, a file, whatever a user's layer may need
        return layer


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """What is drawn within the block from the process's own random numbers is drawn again after it."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def in_dtype(tree: Tree, dtype: str) -> Tree:
    return map_leaves(lambda leaf: np.asarray(leaf, dtype), tree)


def trial_batch(
    image: tuple[int, ...], uint8: bool, dtype: str, objective: Objective = CLASSIFICATION
) -> dict[str, Any]:
    """A batch of two images, by the names that a program has for it."""
    pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, *image), dtype=np.uint8)
    return {
        "images": pixels if uint8 else (pixels / 255 - 0.5).astype(dtype),
        "labels": objective.labels(_IMAGES, dtype),
        **({"weights": np.array([0.5, 1.5], dtype)} if objective.weighted else {}),
        "seed": seed_words(1),
        "step": np.zeros(1, np.int32),
        "indices": np.arange(_IMAGES, dtype=np.int32),
    }


def trial_context(
    mode: Any,
    dtype: str,
    given: Mapping[str, Any],
    ops: Any = GENERIC,
    frozen: frozenset[str] = frozenset(),
) -> Context:
    """The context of a batch of arrays, or of traced ones."""
    random = Randomness(given["seed"], given["step"], given["indices"]) if mode == "train" else None
    return Context(ops, mode, dtype, random, frozen=frozen)


def _for_a_trial(network: Layer) -> Layer:
    """A copy, whose opaque layers may be run by the eager step, and for its program again."""

    def of(_: tuple[str, ...], layer: Layer) -> Layer:
        if isinstance(layer, Opaque):
            return replace(layer, layer=Remembering(copied(layer.layer)))
        return copied(layer)

    return rebuilt(network, of)


def _first_difference(first: Program, second: Program) -> str | None:
    """The layer at work where two programs begin to differ."""
    numbers: list[dict] = [{node: n for n, node in enumerate(p.nodes)} for p in (first, second)]
    for one, other in zip(first.nodes, second.nodes, strict=False):
        same = definition(one, numbers[0]) == definition(other, numbers[1])
        if not same or (one.op == "constant" and one.attrs != other.attrs):
            return f"layer {one.where}" if one.where else "the step"
    return None if len(first.nodes) == len(second.nodes) else "the step"
