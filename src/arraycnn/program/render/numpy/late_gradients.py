"""Gradients of large weights that the update makes, block by block, instead of reading them.

A dense layer's gradient is as large as its weights, and is read once: in blocks it stays in the cache.
"""

from __future__ import annotations

from itertools import pairwise

from arraycnn.ops.numpy.tasks import cut
from arraycnn.program.access import dense
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.numpy.lines import Walked

_HEADS = ("dense_backward", "dense_relu_backward")
_DWEIGHT = 1
"""Which of their results it is."""

_LARGE = 2**20
"""Bytes from which on it is made late."""

_BLOCK = 2**16
"""Numbers of a block."""


def late_gradients(schedule: Schedule) -> dict[Step, tuple[Step, Node]]:
    """The heads whose gradient for their weights the next step, an update, is alone to read: the
    update, and the gradient."""
    outputs = {base(node) for node in schedule.program.outputs.values()}
    found = {}
    for head, update in pairwise(schedule.steps):
        if head.head is None or head.head.op not in _HEADS or update.head is not None:
            continue
        for part in head.writes:
            if part.attrs == (_DWEIGHT,) and part.nbytes >= _LARGE and part not in outputs:
                readers = [step for step in schedule.steps if part in step.reads]
                if readers == [update] and _is_in_place(update, part, schedule):
                    found[head] = update, part
    return found


def _is_in_place(update: Step, gradient: Node, schedule: Schedule) -> bool:
    """Whether a loop writes over what is held anyway, and no operand of the gradient's head."""
    return all(
        root.op == "write"
        and root.index is None
        and root.space == gradient.shape
        and root.target in schedule.memory_of
        and schedule.memory_of[root.target].kind == "input"
        for root in update.roots
    )


def by_rows(walk: Walked, gradient: Node) -> Walked | None:
    """The same loop in pieces of whole rows of a gradient; None where it is not walked in one row."""
    access = [line.of.access for line in walk.lines if line.of.buffer is gradient]
    if walk.grid.sizes != (gradient.size,) or access != [dense(gradient.shape)]:
        return None
    rows, columns = gradient.shape
    parts = cut(rows, -(-gradient.size // _BLOCK))
    pieces = [slice(part.start * columns, part.stop * columns) for part in parts]
    return Walked(walk.grid, walk.lines, walk.roots, walk.results, [pieces], 1)
