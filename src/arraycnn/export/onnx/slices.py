"""Indices of slices, ints, None and ..., axis by axis."""

from __future__ import annotations

from typing import Any

from arraycnn.program.nodes import Node

FAR = 2**31 - 1
"""Beyond the end of any axis: runtimes cut it off."""


def spelled_out(index: tuple[Any, ...], rank: int) -> list[Any]:
    """``index`` with a slice for each axis that it leaves out, and None where an axis is new."""
    parts = list(index)
    named = sum(part is not None and part is not Ellipsis for part in parts)
    rest = [slice(None)] * (rank - named)
    place = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    parts[place : place + 1] = rest
    return parts


def by_axis(index: tuple[Any, ...], rank: int) -> list[slice | int]:
    """The slice or int for each axis of what is indexed."""
    return [part for part in spelled_out(index, rank) if part is not None]


def cut_shape(node: Node) -> tuple[int, ...]:
    """The shape of a "slice" while it still has the axes of what it is of: 1 for each int."""
    sizes, left = [], list(node.shape)
    for part in spelled_out(node.attrs, len(node.inputs[0].shape)):
        if isinstance(part, int):
            sizes.append(1)
        else:
            size = left.pop(0)
            if part is not None:
                sizes.append(size)
    return tuple(sizes)


def bounds(part: slice | int, size: int) -> tuple[int, int, int] | None:
    """(start, end, step) as ONNX has them, of an axis of ``size``; None where nothing is cut.

    Below 0, the size is that of a batch, and the bounds hold for every one.
    """
    if isinstance(part, int):
        return part, part + 1 if part != -1 else FAR, 1
    if size >= 0:
        start, end, step = part.indices(size)
        if (start, end, step) == (0, size, 1):
            return None
        return start, end if end >= 0 else -FAR, step
    step = 1 if part.step is None else part.step
    if part.start is part.stop is None and step == 1:
        return None
    first, last = (0, FAR) if step > 0 else (FAR, -FAR)
    start = first if part.start is None else part.start
    return start, last if part.stop is None else part.stop, step


def padding_of(node: Node) -> list[tuple[int, int]] | None:
    """(before, after) on each axis, where an "update" puts an array into one of a single number."""
    target, inner = node.inputs if node.op == "update" else (node, None)
    if not isinstance(inner, Node) or target.op != "full" or None in node.attrs:
        return None
    if len(inner.shape) != len(target.shape):
        return None
    sides = []
    for axis, part in enumerate(by_axis(node.attrs, len(target.shape))):
        size, count = target.shape[axis], inner.shape[axis]
        found = (0, 0, 1) if isinstance(part, int) else bounds(part, size)
        start, end, step = (0, size, 1) if found is None else found
        if step != 1 or end - start != count or (size < 0 and found is not None):
            return None
        sides.append((start, size - end))
    return sides
