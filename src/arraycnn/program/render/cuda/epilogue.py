"""What follows a product or a convolution point by point, as the epilogue of its kernel: the numbers
are still in registers, and need not lie in memory where nobody else reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.ops import Array
from arraycnn.ops.cuda.tiles import Epilogue
from arraycnn.program.access import dense
from arraycnn.program.nodes import ROUNDED, Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.cuda.grouping import Group
from arraycnn.program.render.cuda.lines import Lines
from arraycnn.program.render.cuda.parameters import Parameters, Value
from arraycnn.program.render.cuda.pointwise import c_type, computing
from arraycnn.program.render.cuda.walk import Walk, walked

_HEADS = frozenset({"conv2d", "conv2d_relu", "dense", "dense_relu"})
_GRADIENTS = frozenset(f"{op}_backward" for op in _HEADS)


def with_epilogues(found: list[Group], schedule: Schedule) -> list[Group]:
    """The same groups, where heads have taken in a loop of those that follow them."""
    joined: list[Group] = []
    for group in found:
        before = joined[-1] if joined else Group()
        if before.alone is not None and before.epilogue is None and not group.covered:
            before.epilogue = _joining(before.alone, group, schedule)
            if before.epilogue is not None:  # what it reads, others of its group may read after it
                (group if group.loops else before).covered.append(before.epilogue)
        if group.alone is not None or group.loops:
            joined.append(group)
    return joined


def _joining(head: Step, group: Group, schedule: Schedule) -> Step | None:
    """The loop that may join, which is taken from ``group``: one that needs none of the others."""
    apart = group.beside or group.following[:1]
    for step in apart:
        if _may_join(head, step, schedule):
            (group.beside if group.beside else group.following).remove(step)
            return step
    return None


def product_of(head: Step) -> Node | None:
    """The result of a head whose numbers an epilogue is given: a gradient's is that of the weights."""
    node = head.head
    if node is not None and node.op in _HEADS:
        return node
    if node is not None and node.op in _GRADIENTS:
        return next((part for part in head.writes if part.attrs == (1,)), None)
    return None


def _may_join(head: Step, step: Step, schedule: Schedule) -> bool:
    node = product_of(head)
    if node is None or any(root.op != "write" or root.index is not None for root in step.roots):
        return False
    if node not in step.reads or step.roots[0].space != node.shape or 0 in node.shape:
        return False
    walk = walked(step.roots, set(schedule.held) - step.recomputed, wide=False)
    loads = [one for one in walk.instructions if one.buffer is node]
    if any(one.op != "load" or one.access != dense(node.shape) for one in loads):
        return False
    others = set(head.writes) - {node}
    if any(one.buffer in others for one in walk.instructions):
        return False
    # Other blocks of the product still read what it reads while one writes; the weights, whose
    # gradient it is, are read by one that has ended.
    assert head.head is not None
    operands = list(head.head.operands)
    if head.head.op in _GRADIENTS:
        del operands[1]
    reads = {schedule.place_of(base(operand)) for operand in operands}
    kept = _returned(step, node, schedule, head.head.op in _GRADIENTS)
    written = {schedule.place_of(root.target) for root in step.roots if root is not kept}
    if head.head.op in _GRADIENTS and kept is not None:
        written.add(schedule.place_of(kept.target))
    return not (written & reads or walk.is_wide)


def _returned(step: Step, node: Node, schedule: Schedule, may_last: bool) -> Root | None:
    """The root that the head writes in place of its own result; None where that is read by others.

    With ``may_last`` it may be one that lies where an input does.
    """
    if any(node in other.reads for other in schedule.steps if other is not step):
        return None
    if base(node) in {base(one) for one in schedule.program.outputs.values()}:
        return None
    lasting = {schedule.place_of(node) for node in schedule.program.inputs.values()}
    # That which is to lie where the result does, if there is one, must be it.
    for root in sorted(
        step.roots, key=lambda root: schedule.memory_of.get(root.target) is not node
    ):
        alike = root.target.size == node.size and (
            root.target.dtype == node.dtype
            or (not may_last and _may_store(root.target.dtype, node))
        )
        fits = may_last or schedule.place_of(root.target) not in lasting
        if alike and fits and root.target.op != "update":
            return root
    return None


def _may_store(dtype: np.dtype, product: Node) -> bool:
    """Whether the kernel of ``product`` may store numbers of ``dtype`` in its place."""
    return computing(product.dtype) == np.float32 and dtype in (np.float32, *ROUNDED)


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


def epilogue_text(head: Step, step: Step, schedule: Schedule) -> EpilogueText:
    """The loop ``step`` as the epilogue of a head; a layer's bias and ReLU come before."""
    node, product = head.head, product_of(head)
    assert node is not None
    assert product is not None
    returned = _returned(step, product, schedule, node.op in _GRADIENTS)
    roots = [root for root in step.roots if root is not returned]
    # The root that is returned comes last, and is not written by the epilogue itself.
    ordered = [*roots, returned] if returned is not None else roots
    walk = walked(ordered, set(schedule.held) - step.recomputed, wide=False)
    parameters = Parameters({root.target for root in step.roots})
    kind = c_type(computing(product.dtype))
    is_rounded = product.dtype in ROUNDED
    known = f"{c_type(product.dtype)}(value)" if is_rounded else "value"  # as others read it
    lines = Lines(walk, parameters, {product: known})
    body = []
    if product is node and len(node.inputs) == 3:
        body.append(f"value += {parameters.buffer(base(node.inputs[2]))}[column];")
    if node.op.endswith("_relu"):
        body.append(f"value = value < 0 ? {kind}(0) : value;")
    body += [*_indices(walk, lines, product.shape[-1]), *lines.values()]
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
    target = product if returned is None else returned.target
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
