"""Mean and variance in one pass: a sum, and the sum of squares around the mean that follows from it,
become one reduction."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass

from arraycnn.program.expression import NotAffineError
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root, Step, expression_of

_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False, kw_only=True)
class MomentsRoot(Root):
    """Of op "moments": its target is the sum, ``squares`` is that of squares around the mean."""

    squares: Node


def moments(first: Step, second: Step, held: Set[Node]) -> Step | None:
    """One loop for both; None unless ``second`` only sums the squares around the mean of ``first``."""
    if len(first.roots) != 1 or len(second.roots) != 1:
        return None
    (total,), (squares,) = first.roots, second.roots
    if (total.op, squares.op) != ("sum", "sum") or total.axes != squares.axes:
        return None
    x = total.value
    if x.shape != squares.value.shape or x.dtype != total.target.dtype or x.dtype.kind != "f":
        return None
    mean = _centre(squares.value, x)
    if mean is None or squares.target.dtype != x.dtype:
        return None
    count = math.prod(x.shape[axis] for axis in total.axes)
    if not _is_mean(mean, total.target, count) or not _lies_along(mean, total, squares, held):
        return None
    root = MomentsRoot(total.target, x, "moments", total.axes, squares=squares.target)
    writes = [*first.writes, *second.writes]
    return Step(roots=[root], reads=set(first.reads), writes=writes, recomputed=first.recomputed)


def _centre(value: Node, x: Node) -> Node | None:
    """What is subtracted from ``x`` before it is squared."""
    if value.op == "square" or (value.op == "multiply" and value.inputs[0] is value.inputs[1]):
        centred = value.inputs[0]
        if isinstance(centred, Node) and centred.op == "subtract" and centred.inputs[0] is x:
            centre = centred.inputs[1]
            return _seen_through(centre) if isinstance(centre, Node) else None
    return None


def _is_mean(node: Node, total: Node, count: int) -> bool:
    if node.op not in ("divide", "multiply") or not isinstance(node.inputs[0], Node):
        return False
    number = node.inputs[1]
    if isinstance(number, Node):
        number = number.attrs[0] if number.op == "full" else None
    if number is None or _seen_through(node.inputs[0]) is not total:
        return False
    wanted = count if node.op == "divide" else 1.0 / count
    return bool(abs(float(number) - wanted) <= _ROUNDING * wanted)


def _seen_through(node: Node) -> Node:
    """What a reshape or broadcast is of: with `_lies_along`, the same numbers."""
    while node.op in ("reshape", "broadcast"):
        node = node.inputs[0]
    return node


def _lies_along(mean: Node, total: Root, squares: Root, held: Set[Node]) -> bool:
    """Whether each point is compared with the mean of its own kept point."""
    try:
        instructions = expression_of([squares], set(held))[0].instructions
    except NotAffineError:
        return False
    strides, step = [0] * len(total.space), 1
    for axis in reversed(range(len(total.space))):
        if axis not in total.axes and total.space[axis] != 1:
            strides[axis] = step
            step *= total.space[axis]
    found = [one.access for one in instructions if one.buffer in (mean, total.target)]
    return len(found) == 1 and found[0] is not None and found[0].strides == tuple(strides)
