"""The arrays of a schedule as it is rendered: those it begins with, a head gives, and it ends with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from arraycnn.ops import Kernels
from arraycnn.program.nodes import Node, memory_dtype
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.schedule import Schedule

_ALONE = {"matmul", "max_pool2d", "max_pool2d_backward", "at_winners"}
"""Kernels that are not handed the record which they are of."""

_MAY_HAVE_A_BIAS = {"dense", "dense_relu", "conv2d", "conv2d_relu", "conv2d_max_pool2d"}


class Allocates(Protocol):
    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any: ...


def constants_and_inputs(
    schedule: Schedule, arrays: Mapping[str, np.ndarray]
) -> dict[Node, np.ndarray]:
    """What a schedule begins with, ``arrays`` being its inputs by name.

    All in C order, since kernels are told where an array begins, not how it lies.
    """
    program = schedule.program
    held = {node: node.attrs[0].array for node in program.nodes if node.op == "constant"}
    held |= {node: arrays[name] for name, node in program.inputs.items()}
    strided = [node.attrs for node, array in held.items() if not array.flags.c_contiguous]
    assert not strided, f"inputs of a program that do not lie in C order: {strided}"
    return held


def memory_for(
    node: Node, schedule: Schedule, held: Mapping[Node, Any], launcher: Allocates
) -> Any:
    """Where ``node`` is to be written: in place of another value, or in new memory.

    A value in whose place it could be written is not ``held`` where it was never in memory, as that of
    a product whose kernel went on with it.
    """
    place = schedule.memory_of.get(node)
    if place is not None and place in held:
        return held[place].reshape(node.shape)
    return launcher.empty(node.shape, memory_dtype(node.dtype))


def forget(place: Node, schedule: Schedule, held: dict[Node, Any]) -> None:
    """Drop the array of a buffer whose memory is free, and those of all that lie in it."""
    for node in (place, *schedule.lying_at.get(place, ())):
        held.pop(node, None)


def head_result(node: Node, ops: Kernels, held: Mapping[Node, np.ndarray], **more: Any) -> Any:
    """What the kernel of the head ``node`` gives for the arrays that it reads."""
    inputs: list[Any] = [held[base(n)].reshape(n.shape) for n in node.operands]
    kernel: Callable[..., Any] = getattr(ops, node.op)
    if node.op in _MAY_HAVE_A_BIAS and len(inputs) == 2:
        inputs.append(None)  # no bias
    first = () if node.op in _ALONE else (ops,)
    return kernel(*first, *inputs, *node.attrs, **more)


def outputs_of(schedule: Schedule, held: Mapping[Node, np.ndarray]) -> dict[str, np.ndarray]:
    """The results of a schedule by name."""
    return {
        name: held[base(node)].reshape(node.shape)
        for name, node in schedule.program.outputs.items()
    }
