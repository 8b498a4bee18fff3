"""What follows a product or a convolution point by point, as the epilogue of its kernel: the numbers
are still in registers, and need not lie in memory where nobody else reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arraycnn.ops import Array
from arraycnn.ops.cuda.tiles import Epilogue
from arraycnn.program.access import dense
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.cuda.grouping import Group, place_of, touched
from arraycnn.program.render.cuda.lines import Lines
from arraycnn.program.render.cuda.parameters import Parameters, Value
from arraycnn.program.render.cuda.pointwise import c_type
from arraycnn.program.render.cuda.walk import Walk, walked

_HEADS = frozenset({"conv2d", "conv2d_relu", "dense", "dense_relu"})


def with_epilogues(found: list[Group], schedule: Schedule) -> list[Group]:
    """The same groups, where heads have taken in the loop that follows them."""
    joined: list[Group] = []
    for group in found:
        head = joined[-1].alone if joined else None
        if head is not None and not joined[-1].epilogue and _may_join(head, group, schedule):
            (joined[-1].epilogue,) = group.loops
        else:
            joined.append(group)
    return joined


def _may_join(head: Step, group: Group, schedule: Schedule) -> bool:
    node = head.head
    if node is None or node.op not in _HEADS or len(group.loops) != 1 or group.covered:
        return False
    (step,) = group.loops
    if any(root.op != "write" or root.index is not None for root in step.roots):
        return False
    if node not in step.reads or step.roots[0].space != node.shape or 0 in node.shape:
        return False
    walk = walked(step.roots, set(schedule.held) - step.recomputed, wide=False)
    loads = [one for one in walk.instructions if one.buffer is node]
    if any(one.op != "load" or one.access != dense(node.shape) for one in loads):
        return False
    # Other blocks of the head still read what it reads while one writes.
    reads, _ = touched(head, schedule)
    kept = _returned(step, node, schedule)
    written = {place_of(root.target, schedule) for root in step.roots if root is not kept}
    return not (written & reads or walk.is_wide)


def _returned(step: Step, node: Node, schedule: Schedule) -> Root | None:
    """The root that the head writes in place of its own result; None where that is read by others."""
    if any(node in other.reads for other in schedule.steps if other is not step):
        return None
    if base(node) in {base(one) for one in schedule.program.outputs.values()}:
        return None
    lasting = {place_of(node, schedule) for node in schedule.program.inputs.values()}
    # That which is to lie where the result does, if there is one, must be it.
    for root in sorted(
        step.roots, key=lambda root: schedule.memory_of.get(root.target) is not node
    ):
        alike = (root.target.size, root.target.dtype) == (node.size, node.dtype)
        if alike and root.target.op != "update" and place_of(root.target, schedule) not in lasting:
            return root
    return None


@dataclass(frozen=True)
class EpilogueText:
    """An epilogue as CUDA C++, and what a launch gives it.

    Attributes
    ----------
    returned : Node
        What the head's result is: of a root of the loop, or the head's own.
    """

    name: str
    text: str
    values: tuple[Value, ...]
    returned: Node

    def of(self, held: Mapping[Node, Array]) -> Epilogue:
        members: list[Any] = [
            held[value] if isinstance(value, Node) else value for value in self.values
        ]
        return Epilogue(self.name, tuple(members), self.text)


def epilogue_text(head: Node, step: Step, schedule: Schedule) -> EpilogueText:
    """The loop ``step`` as the epilogue of ``head``, whose bias and ReLU come before."""
    returned = _returned(step, head, schedule)
    roots = [root for root in step.roots if root is not returned]
    # The root that is returned comes last, and is not written by the epilogue itself.
    ordered = [*roots, returned] if returned is not None else roots
    walk = walked(ordered, set(schedule.held) - step.recomputed, wide=False)
    parameters = Parameters({root.target for root in step.roots})
    lines = Lines(walk, parameters, {head: "value"})
    kind = c_type(head.dtype)
    body = []
    if len(head.inputs) == 3:
        body.append(f"value += {parameters.buffer(base(head.inputs[2]))}[column];")
    if head.op.endswith("_relu"):
        body.append(f"value = value < 0 ? {kind}(0) : value;")
    body += [*_indices(walk, lines, head.shape[-1]), *lines.values()]
    body += lines.writes(leave_out=None if returned is None else len(roots))
    result = "value" if returned is None else lines.of(walk.numbers[-1])
    if not parameters.values:
        parameters.whole(0)  # a struct has a member at least
    members = "".join(f"    {declared};\n" for declared in parameters.declarations)
    inside = "\n".join(
        [
            f"DEVICE {kind} operator()({kind} value, long long line, long long column) const",
            "{",
            "using Index = int;",
            *body,
            f"return {result};",
            "}",
        ]
    )
    name = f"fused_{hashlib.sha256((members + inside).encode()).hexdigest()[:16]}"
    text = f'#include "pointwise.cuh"\nstruct {name} {{\n{members}{inside}\n}};\n'
    target = head if returned is None else returned.target
    return EpilogueText(name, text, tuple(parameters.values), target)


def _indices(walk: Walk, lines: Lines, columns: int) -> list[str]:
    """The index along each axis from the line and the column of a number."""
    last = walk.kept[-1] if walk.kept else None
    if last is not None and last.size == columns and len(walk.kept) > 1:
        return [
            "const Index column_ = (Index)column, line_ = (Index)line;",
            *lines.indices("line_", walk.kept[:-1], "i"),
            *lines.indices("column_", walk.kept[-1:], "k"),
        ]
    return [
        f"const Index unit = (Index)line * {columns} + (Index)column;",
        *lines.indices("unit", walk.kept, "i"),
    ]
