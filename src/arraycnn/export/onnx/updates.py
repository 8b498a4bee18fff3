"""Arrays with others written into them, of which ONNX has one kind: a padding."""

from __future__ import annotations

import numpy as np

from arraycnn.export.onnx.graph import Graph, Shape
from arraycnn.export.onnx.layouts import NATURAL, Layout, order, stored
from arraycnn.export.onnx.render import Rendered, Renderer
from arraycnn.export.onnx.slices import FAR, by_axis, padding_of, spelled_out
from arraycnn.program.nodes import Node


def update(to: Renderer, node: Node) -> Rendered:
    sides = padding_of(node)
    if sides is None:
        return _written(to, node), NATURAL
    (target, inner), layout = node.inputs, to.wish(node)
    layout = NATURAL if layout.split else layout
    laid = [sides[axis] for axis in order(len(sides), layout)]
    name = _in_dtype(to, inner, node, layout)
    outside = to.graph.scalar(target.attrs[0], node.dtype)
    shape = stored(node.shape, layout)
    return _padded(to.graph, name, laid, outside, to.path(node), shape), layout


def _in_dtype(to: Renderer, x: Node, node: Node, layout: Layout) -> str:
    name = to.value(x, layout)
    return name if x.dtype == node.dtype else to.graph.cast(name, node.dtype, to.path(node))


def _padded(
    graph: Graph, x: str, sides: list[tuple[int, int]], outside: str, path: str, shape: Shape
) -> str:
    """``x`` with ``outside`` on its sides; below 0, as many numbers are cut off."""
    if not any(map(any, sides)):
        return x
    pads = graph.ints([before for before, _ in sides] + [after for _, after in sides])
    return graph.add("Pad", [x, pads, outside], path, shape)


def _written(to: Renderer, node: Node) -> str:
    """Where the index points, the new numbers, spread out to their places; elsewhere the old ones."""
    (target, new), graph, path = node.inputs, to.graph, to.path(node)
    places = _places(to, node)
    shape = tuple(
        size if along is None else len(along)
        for size, along in zip(target.shape, places, strict=True)
    )
    old = to.value(target)
    if 0 in shape:
        return old
    given = isinstance(new, Node)
    name = _in_dtype(to, new, node, NATURAL) if given else graph.scalar(new, node.dtype)
    name = graph.expand(name, _indexed(node, shape), path)
    name, mask, rank = graph.reshape(name, shape, path), np.array(True), len(shape)
    for axis, along in enumerate(places):
        size = target.shape[axis]
        if along is None or along == range(size):
            continue
        if along.step < 0:
            along = along[::-1]
            reverse = [graph.ints([number]) for number in (-1, -FAR, axis, -1)]
            name = graph.add("Slice", [name, *reverse], path, shape)
        name, shape = _spread(to, name, shape, axis, along, size, node)
        is_here = np.isin(np.arange(size), along)
        mask = mask & is_here.reshape((-1,) + (1,) * (rank - axis - 1))
    where = graph.constant(f"{path}/places", mask)
    return graph.add("Where", [where, name, old], path, node.shape)


def _places(to: Renderer, node: Node) -> list[range | None]:
    """Where numbers are written along each axis; None is everywhere, in a batch of any size."""
    places: list[range | None] = []
    shape = node.shape
    for part, size in zip(by_axis(node.attrs, len(shape)), shape, strict=True):
        if isinstance(part, slice) and part == slice(None):
            places.append(None)
        elif size < 0:
            to.no_operation(node, "writing into some images of a batch")
        elif isinstance(part, int):
            places.append(range(part % size, part % size + 1))
        else:
            places.append(range(*part.indices(size)))
    return places


def _indexed(node: Node, inside: Shape) -> Shape:
    """The shape of what an index points at, of which ``inside`` still has all axes."""
    sizes, shape = iter(inside), []
    for part in spelled_out(node.attrs, len(node.shape)):
        size = 1 if part is None else next(sizes)
        if not isinstance(part, int):
            shape.append(size)
    return tuple(shape)


def _spread(
    to: Renderer, x: str, shape: Shape, axis: int, along: range, size: int, node: Node
) -> tuple[str, Shape]:
    """``x`` with its numbers along ``axis`` at the places ``along`` of ``size``, and the new shape."""
    graph, path, step = to.graph, to.path(node), along.step
    zero, (before, after) = graph.scalar(0, node.dtype), (shape[:axis], shape[axis + 1 :])
    if step > 1:
        apart = [(0, 0)] * (axis + 1) + [(0, step - 1)] + [(0, 0)] * len(after)
        x = graph.reshape(x, (*before, shape[axis], 1, *after), path)
        x = _padded(graph, x, apart, zero, path, (*before, shape[axis], step, *after))
        x = graph.reshape(x, (*before, shape[axis] * step, *after), path)
    around = along.start, size - along.start - len(along) * step
    sides = [(0, 0)] * axis + [around] + [(0, 0)] * len(after)
    shape = (*before, size, *after)
    return _padded(graph, x, sides, zero, path, shape), shape


UPDATE_RULES = {"update": update}
