"""A step of a network, traced, simplified and scheduled."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers import Rescale
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops.whole_batch import WholeBatch
from arraycnn.optimizers import Optimizer
from arraycnn.program.description import StepProgram as Program
from arraycnn.program.memo import schedule_of
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.screening import screened_inference, screened_training
from arraycnn.program.steps import (
    Form,
    inference_program,
    named,
    opaque_layers,
    parts,
    training_program,
)
from arraycnn.program.trace import TracingError
from arraycnn.training.step import CLASSIFICATION, CROSS_ENTROPY, Carry, Objective
from arraycnn.tree import map_leaves


def training_schedule(
    network: Layer,
    optimizer: Optimizer,
    carry: Carry,
    images: Any,
    batch_size: int,
    dtype: str,
    gather: bool = False,
    objective: Objective = CLASSIFICATION,
    whole: int = 0,
    noted: int = 0,
    tables: int = 0,
    whole_batch: WholeBatch | None = None,
) -> Schedule:
    """`training_program`, scheduled: the new carry takes the place of the old, and so do tables."""
    program = training_program(
        *(network, optimizer, carry, images, batch_size, dtype, gather, objective, whole, noted),
        tables=tables,
        whole_batch=whole_batch,
    )
    kept = [name for name in ("measures", "losses", "cursor") if name in program.outputs]
    return schedule_of(program, (*named(carry), *kept))


def inference_schedule(
    network: Layer,
    params: Tree,
    state: Tree,
    images: Any,
    dtype: str,
    loss: Loss = CROSS_ENTROPY,
) -> Schedule:
    """`inference_program`, scheduled."""
    return schedule_of(inference_program(network, params, state, images, dtype, loss))


def step_program(
    network: Layer,
    params: Tree,
    state: Tree,
    images_shape: tuple[int, ...],
    optimizer: Optimizer,
    mode: str,
    dtype: str,
    objective: Objective = CLASSIFICATION,
) -> Program:
    """The step of a batch in a form to print, in ``mode`` "train" or "infer".

    ``params`` and ``state`` are NumPy's arrays.
    """
    if mode not in ("train", "infer"):
        message = f'program: mode must be "train" or "infer", got {mode!r}'
        raise InvalidValueError(message)
    images = Form(images_shape, image_dtype(network, dtype))
    kind = images_shape[1:], images.dtype == "uint8", dtype
    if mode == "infer":
        found = screened_inference(network, params, state, *kind)
    else:
        moments = map_leaves(lambda a: np.asarray(a, dtype), optimizer.init(params))
        carry = Carry(params, state, moments)
        found = screened_training(network, optimizer, carry, *kind, objective=objective)
    if found.cause is not None:
        raise TracingError(found.cause)
    if mode == "infer":
        trees = params, state
        schedule = inference_schedule(found.network, *trees, images, dtype, objective.loss)
    else:
        batch = images, images_shape[0]
        step = found.network, optimizer, carry
        schedule = training_schedule(*step, *batch, dtype, objective=objective)
    return Program(schedule, tuple(layer.cause for layer in opaque_layers(found.network)))


def image_dtype(network: Layer, dtype: str) -> str:
    """In which dtype ``network`` takes images: uint8 where a layer is `Rescale`."""
    return "uint8" if any(isinstance(layer, Rescale) for layer in parts(network)) else dtype


__all__ = [
    "Program",
    "image_dtype",
    "inference_schedule",
    "step_program",
    "training_schedule",
]
