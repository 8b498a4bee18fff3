"""Recompute: a big value that lies in memory need not be read where a loop can compute it from what it
reads anyway.

Batch norm and ReLU show it: their backward reads the input of the norm; whether ReLU let a number
through follows from it, with a few operations instead of an array more from memory.
"""

from __future__ import annotations

from collections.abc import Collection

from arraycnn.program.expression import Instruction, NotAffineError
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import BIG, DEAR
from arraycnn.program.passes.loops import Step, expression_of

_MOST_OPERATIONS = 8
"""Operations more, of which none is dear."""

_NO_OPERATIONS = frozenset(["load", "number", "coordinate", "gather", "astype"])


def recompute(steps: Collection[Step], held: set[Node]) -> None:
    """Choose what each loop computes again: its `Step.recomputed`.

    A renderer may read these values instead: they lie in memory all the same.
    """
    for step in steps:
        if step.head is None:
            _recompute(step, held)


def _recompute(step: Step, held: set[Node]) -> None:
    own = {root.target for root in step.roots}
    before = _instructions(step, held)
    for node in dict.fromkeys(one.buffer for one in before):  # a set's order is no order
        if node is None or node in own or node.kind != "pointwise" or node.size < BIG:
            continue
        try:
            after = _instructions(step, held - step.recomputed - {node})
        except NotAffineError:
            continue
        if not _big_loads(after) < _big_loads(before):
            continue
        if _operations(after) - _operations(before) > _MOST_OPERATIONS:
            continue
        if _dear(after) > _dear(before):
            continue
        step.recomputed.add(node)
        step.reads |= {one.buffer for one in after if one.buffer is not None} - own
        before = after


def _instructions(step: Step, held: set[Node]) -> list[Instruction]:
    return expression_of(step.roots, held)[0].instructions


def _big_loads(instructions: list[Instruction]) -> set[Instruction]:
    return {one for one in instructions if one.buffer is not None and one.buffer.size >= BIG}


def _operations(instructions: list[Instruction]) -> int:
    return sum(one.op not in _NO_OPERATIONS for one in instructions)


def _dear(instructions: list[Instruction]) -> int:
    return sum(one.op in DEAR for one in instructions)
