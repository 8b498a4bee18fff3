"""What a step of a schedule computes, counted from shapes."""

from __future__ import annotations

import math
from collections.abc import Set

from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Step, expression_of
from arraycnn.program.passes.schedule import Schedule

_NOT_COUNTED = frozenset(["load", "number", "coordinate", "gather"])


def pointwise(step: Step, held: Set[Node]) -> int:
    """How many operations a loop does at each point of its space."""
    expression, _ = expression_of(step.roots, held - step.recomputed)
    return sum(one.op not in _NOT_COUNTED for one in expression.instructions)


def operations(step: Step, schedule: Schedule) -> int | None:
    """Floating-point operations of a step; None for a call, of which nobody knows.

    Of a loop, each operation at each point of its space, whatever it is, and one for each number that
    a reduction takes. Of a convolution, dense layer or product, two for each multiply-add of its
    definition, padding among them, gradients too; of a pool by itself, one for each number that a
    window looks at. The gradient of a convolution with a max-pool counts the winners only; bias, ReLU
    and pool within a convolution or dense layer count nothing.
    """
    if step.is_call:
        return None
    if step.head is not None:
        return _of_head(step.head)
    count = pointwise(step, schedule.held)
    points = math.prod(step.roots[0].space)
    reduced = sum(math.prod(root.space) for root in step.roots if root.op != "write")
    return count * points + reduced


def _of_head(head: Node) -> int | None:
    shapes = [operand.shape for operand in head.operands]
    is_backward = head.op.endswith("_backward")
    times = 1 + (head.attrs[-1] is True) if is_backward else 1
    """For its weights, and where that is needed for what it is given."""
    if head.op.startswith("conv2d"):
        taps = math.prod(shapes[1][:3])
        if is_backward:
            return 2 * taps * math.prod(shapes[-1]) * times
        height, width = head.attrs[0].output_shape(*shapes[0][1:3])
        return 2 * taps * shapes[0][0] * height * width * shapes[1][3]
    if head.op.startswith("dense"):
        return 2 * math.prod(shapes[0]) * shapes[1][1] * times
    if head.op == "matmul":
        return 2 * head.size * shapes[0][-1]
    if head.op in ("max_pool2d", "at_winners"):
        return head.size * math.prod(head.attrs[0].kernel_size)
    return math.prod(shapes[0]) if head.op == "max_pool2d_backward" else None
