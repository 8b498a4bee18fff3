"""Whether a program is all that a network does: what its Python does beside arrays is no part of it.

A layer with a counter, or with random numbers of its own, is found by tracing twice; one that does
something else for NumPy's arrays than for traced ones, by a step of the eager plan in float64. What
changes later, as after the hundredth call, cannot be found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arraycnn.errors import one_line
from arraycnn.layers.layer import Context, Layer, Randomness, Tree
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from arraycnn.optimizers import Optimizer
from arraycnn.program.interpret import interpret
from arraycnn.program.nodes import Program
from arraycnn.program.steps import inference_program, named, training_program
from arraycnn.program.text import definition
from arraycnn.program.trace import TracingError
from arraycnn.training import Carry, infer, train_step
from arraycnn.tree import map_leaves

_IMAGES = 2
_SAME = 1e-9


def cause_against_training(
    network: Layer, optimizer: Optimizer, carry: Carry, image: tuple[int, ...], uint8: bool
) -> str | None:
    """Why a training step is more than its program; None where it is the same."""
    wide = Carry(*(map_leaves(_wide, tree) for tree in carry))
    given: dict[str, Any] = {
        "images": _images(image, uint8),
        "labels": np.zeros(_IMAGES, np.int32),
        "rate": np.asarray(0.01),
        "seed": seed_words(1),
        "step": np.zeros(1, np.int32),
        "indices": np.arange(_IMAGES, dtype=np.int32),
    }

    def traced() -> Program:
        return training_program(network, optimizer, wide, given["images"], _IMAGES, "float64")

    def eager() -> dict[str, Any]:
        random = Randomness(given["seed"], given["step"], given["indices"])
        after, loss, correct = train_step(
            *(network, optimizer, wide, given["images"], given["labels"], given["rate"]),
            Context(GENERIC, "train", "float64", random),
        )
        return {"loss": loss, "correct": correct, **named(after)}

    return _cause(traced, eager, {**given, **named(wide)})


def cause_against_inference(
    network: Layer, params: Tree, state: Tree, image: tuple[int, ...], uint8: bool
) -> str | None:
    """The same of a pass forward."""
    params, state = map_leaves(_wide, params), map_leaves(_wide, state)
    images = _images(image, uint8)

    def traced() -> Program:
        return inference_program(network, params, state, images, "float64")

    def eager() -> dict[str, Any]:
        context = Context(GENERIC, "infer", "float64")
        return {"logits": infer(network, params, state, images, context)}

    return _cause(traced, eager, {"images": images, **named(Carry(params, state, {}))})


@np.errstate(all="ignore")
def _cause(
    traced: Callable[[], Program],
    eager: Callable[[], dict[str, Any]],
    values: Mapping[str, Any],
) -> str | None:
    try:
        first, second = traced(), traced()
    except TracingError as error:
        return one_line(error)
    if (place := _first_difference(first, second)) is not None:
        return f"{place}: does something else each time it is called (a counter, random numbers)"
    try:
        expected = eager()
    except Exception as error:  # the plan that runs it will raise it
        return one_line(error)
    got = interpret(first, values)
    for name, array in expected.items():
        if not np.allclose(got[name], array, rtol=_SAME, atol=_SAME, equal_nan=True):
            return f"{name} is not what the layers compute on NumPy's own arrays"
    return None


def _first_difference(first: Program, second: Program) -> str | None:
    """The layer at work where two programs begin to differ."""
    numbers: list[dict] = [{node: n for n, node in enumerate(p.nodes)} for p in (first, second)]
    for one, other in zip(first.nodes, second.nodes, strict=False):
        same = definition(one, numbers[0]) == definition(other, numbers[1])
        if not same or (one.op == "constant" and one.attrs != other.attrs):
            return f"layer {one.where}" if one.where else "the step"
    return None if len(first.nodes) == len(second.nodes) else "the step"


def _wide(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, np.float64)


def _images(image: tuple[int, ...], uint8: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (_IMAGES, *image), dtype=np.uint8)
    return pixels if uint8 else pixels / 255 - 0.5
