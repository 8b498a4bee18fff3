"""Opaque calls, as a renderer makes them in their turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from arraycnn.ops import Array, Kernels
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step


class Launcher(Protocol):
    """The part of `arraycnn.ops.host_launcher.HostLauncher` that is needed."""

    is_rehearsing: bool
    is_calling: bool

    def view(self, array: Array) -> Array: ...


def calling(
    step: Step, launcher: Launcher, ops: Kernels, held: Mapping[Node, Array]
) -> Callable[[], None]:
    """What makes the call of ``step``, between arrays that lie in memory.

    As in a launch it is known where they lie, and later ones may come to lie there.
    """
    node = step.head
    assert node is not None
    inputs = [launcher.view(held[base(n)]).reshape(n.shape) for n in node.operands]
    places = [(part.attrs[0], launcher.view(held[part])) for part in step.writes]
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
