"""Simplify: nodes that change nothing, and nodes that are computed twice, give way."""

from __future__ import annotations

from typing import Any

from arraycnn.program.nodes import Node, Program, replaced
from arraycnn.program.passes.dead import without_dead

_VIEWS_OF_ONE_NUMBER = frozenset(["reshape", "permute", "slice", "broadcast"])


def simplified(program: Program) -> Program:
    """The same program, to the last bit, with fewer nodes."""
    instead: dict[Node, Node] = {}
    known: dict[tuple, Node] = {}
    nodes = []
    for old, new in replaced(program, instead):
        node = _simpler(new)
        if node.op != "input":
            node = known.setdefault(_key(node), node)
        if node is not old:
            instead[old] = node
        nodes.append(node)
    return without_dead(
        Program(
            tuple(dict.fromkeys(nodes)),
            program.inputs,
            {name: instead.get(node, node) for name, node in program.outputs.items()},
        )
    )


def _simpler(node: Node) -> Node:
    """What stands for ``node``: itself, one of its inputs, or a new node."""
    operands = node.operands
    if not operands:
        return node
    first = operands[0]
    same = first.shape == node.shape and first.dtype == node.dtype
    if same and node.op in ("reshape", "broadcast", "astype"):
        return first
    if same and node.op == "permute" and node.attrs == tuple(range(len(node.shape))):
        return first
    if same and node.op == "slice" and all(part in (slice(None), Ellipsis) for part in node.attrs):
        return first
    if same and node.op in ("multiply", "divide") and _is_one(node.inputs[1]):
        return first
    if node.op == "reshape" and first.op == "reshape":
        return Node("reshape", first.inputs, (), node.shape, node.dtype, node.where)
    if node.op == "reshape" and first.op == "take":
        return _taken_in_shape(node, first)
    if node.op in _VIEWS_OF_ONE_NUMBER and first.op == "full":
        return Node("full", (), first.attrs, node.shape, node.dtype, node.where)
    return node


def _taken_in_shape(node: Node, take: Node) -> Node:
    """``node``, a reshape of ``take``; where both only undo that indices were made flat, the rows
    taken at the indices as they were: a loop over them needs no flat ones in memory."""
    source, indices = take.inputs
    (axis,) = take.attrs
    if indices.op == "reshape":
        (whole,) = indices.inputs
        if node.shape == (*source.shape[:axis], *whole.shape, *source.shape[axis + 1 :]):
            return Node("take", (source, whole), take.attrs, node.shape, node.dtype, node.where)
    return node


def _is_one(value: Any) -> bool:
    return not isinstance(value, Node) and value == 1


def _key(node: Node) -> tuple:
    """Equal for nodes that are the same value."""
    inputs = tuple(
        id(value) if isinstance(value, Node) else (type(value).__name__, repr(value))
        for value in node.inputs
    )
    attrs = tuple(value if node.op == "constant" else repr(value) for value in node.attrs)
    return node.op, inputs, attrs, node.shape, node.dtype
