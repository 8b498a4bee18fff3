"""Opaque calls, as a renderer makes them in their turn."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from arraycnn.ops import Kernels
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step


class Launcher(Protocol):
    """The part of `arraycnn.ops.host_launcher.HostLauncher` that is needed."""

    is_rehearsing: bool
    is_calling: bool


def calling(
    step: Step, launcher: Launcher, ops: Kernels, held: Mapping[Node, np.ndarray]
) -> Callable[[], None]:
    """What makes the call of ``step``, between arrays that lie in memory.

    As in a launch it is known where they lie, and later ones may come to lie there.
    """
    node = step.head
    assert node is not None
    inputs = [_view(held[base(n)]).reshape(n.shape) for n in node.operands]
    places = [(part.attrs[0], _view(held[part])) for part in step.writes]
    call = node.attrs[0]

    def work() -> None:
        if launcher.is_rehearsing:
            for _, place in places:
                place[...] = 0
            return
        launcher.is_calling = True
        results = call(inputs, ops)
        launcher.is_calling = False
        for number, place in places:
            place[...] = results[number]

    return work


def _view(array: np.ndarray) -> np.ndarray:
    """The memory of ``array``, in C order, without a hold on it."""
    memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    return np.ndarray(array.shape, array.dtype, memory)  # type: ignore[arg-type]
