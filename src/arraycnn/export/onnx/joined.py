"""Parts of an array that are treated alike and joined again: the whole array, treated once.

A layer that has numbers of its own for each channel may write a channel at a time, as `Rescale` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.export.onnx.slices import by_axis
from arraycnn.program.nodes import Frozen, Node


def joined(node: Node) -> Node:
    """What stands for a "concat": the array whose parts it joins, or itself."""
    (axis,), parts = node.attrs, [part.inputs[0] for part in node.inputs if part.op == "reshape"]
    whole = _whole(parts, axis, node) if len(parts) == len(node.inputs) else None
    return whole if isinstance(whole, Node) else node


def _whole(parts: list[Any], axis: int, joint: Node) -> Any:
    """What ``parts`` are when joined along ``axis``, which they lack, in the shape of ``joint``.

    A number stands for itself; None where nothing is found.
    """
    first = parts[0]
    if not isinstance(first, Node):
        return (
            None if any(isinstance(part, Node) for part in parts) else _numbers(parts, axis, joint)
        )
    if any(not isinstance(part, Node) or not _is_like(part, first) for part in parts):
        return None
    if first.op == "slice":
        return _sliced(parts, axis, joint)
    if first.kind != "pointwise" or any(v.shape != first.shape for v in first.operands):
        return None
    inputs = [
        _whole(list(values), axis, joint) for values in zip(*(p.inputs for p in parts), strict=True)
    ]
    if any(value is None for value in inputs):
        return None
    return Node(first.op, tuple(inputs), first.attrs, joint.shape, first.dtype, first.where)


def _is_like(part: Node, first: Node) -> bool:
    same = part.op == first.op and part.dtype == first.dtype and part.shape == first.shape
    return same and len(part.inputs) == len(first.inputs)


def _numbers(parts: list[Any], axis: int, joint: Node) -> Any:
    """One number for all, or a table of those of each part."""
    if any(not isinstance(part, bool | int | float) for part in parts):
        return None
    if len({repr(part) for part in parts}) == 1:
        return parts[0]
    table = np.array(parts, joint.dtype).reshape((-1,) + (1,) * (len(joint.shape) - axis - 1))
    return Node("constant", (), (Frozen(table),), table.shape, table.dtype, joint.where)


def _sliced(parts: list[Node], axis: int, joint: Node) -> Node | None:
    """What the slices are of, if they are all of it, in order."""
    x, rank = parts[0].inputs[0], len(joint.shape)
    wanted: list[Any] = [slice(None)] * rank
    for place, part in enumerate(parts):
        wanted[axis] = place
        if part.inputs[0] is not x or None in part.attrs or by_axis(part.attrs, rank) != wanted:
            return None
    return x if x.shape == joint.shape else None
