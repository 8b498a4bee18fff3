"""Opaque calls, as a renderer makes them in their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from arraycnn.ops import Array, Kernels
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step

_is_rehearsing = ContextVar("_is_rehearsing", default=False)

is_calling = ContextVar("is_calling", default=False)
"""Whether a call is under way in this thread, or was when an error ended what ran.

A launcher may serve several threads: what one of them does is no matter of the others.
"""


@contextmanager
def rehearsing() -> Iterator[None]:
    """Within it, what this thread runs is for the sake of kernels and memory: calls are left out."""
    token = _is_rehearsing.set(True)
    try:
        yield
    finally:
        _is_rehearsing.reset(token)


class Launcher(Protocol):
    """The part of `arraycnn.ops.host_launcher.HostLauncher` that is needed."""

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
        if _is_rehearsing.get():
            for _, place in places:
                place[...] = 0
            return
        around = is_calling.get()  # of a layer that trains a network of its own
        is_calling.set(True)
        results = call(inputs, ops)
        is_calling.set(around)
        for number, place in places:
            place[...] = results[number]

    return work
