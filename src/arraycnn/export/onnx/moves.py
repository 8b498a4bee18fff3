"""What moves numbers and computes none: views, rows by index, concatenations."""

from __future__ import annotations

import numpy as np

from arraycnn.export.onnx.layouts import (
    NATURAL,
    after_reshape,
    after_slice,
    order,
    stored,
)
from arraycnn.export.onnx.render import Rendered, Renderer
from arraycnn.export.onnx.slices import bounds, by_axis, cut_shape
from arraycnn.program.nodes import Node

_NUMBERED = (np.int32, np.int64)


def reshape(to: Renderer, node: Node) -> Rendered:
    (x,) = node.inputs
    layout = to.layout(x)
    after = after_reshape(x.shape, layout, node.shape)
    if after is None:
        layout = after = NATURAL
    name = to.value(x, layout)
    return to.graph.reshape(name, stored(node.shape, after), to.path(node)), after


def permute(to: Renderer, node: Node) -> Rendered:
    (x,), layout, rank = node.inputs, to.wish(node), len(node.shape)
    before = NATURAL if to.layout(x).split else to.layout(x)
    lies = order(rank, before)
    axes = tuple(lies.index(node.attrs[axis]) for axis in order(rank, layout))
    return to.graph.transpose(to.value(x, before), axes, to.path(node)), layout


def broadcast(to: Renderer, node: Node) -> Rendered:
    (x,), layout = node.inputs, to.wish(node)
    if layout.split or len(x.shape) != len(node.shape):
        layout = NATURAL
    name = to.value(x, layout)
    return to.graph.expand(name, stored(node.shape, layout), to.path(node)), layout


def full(to: Renderer, node: Node) -> Rendered:
    number = to.graph.scalar(node.attrs[0], node.dtype)
    return to.graph.expand(number, node.shape, to.path(node)), NATURAL


def cut(to: Renderer, node: Node) -> Rendered:
    """A "slice": cut, then without the axes that ints take away and with those that None adds."""
    (x,), graph, path = node.inputs, to.graph, to.path(node)
    layout = to.layout(x)
    after = after_slice(x, node, layout)
    if after is None:
        layout = after = NATURAL
    lies, rank = order(len(x.shape), layout), len(x.shape)
    cuts = []
    for axis, part in enumerate(by_axis(node.attrs, rank)):
        found = bounds(part, x.shape[axis])
        if found is not None:
            cuts.append((*found, lies.index(axis)))
    name, shape = to.value(x, layout), cut_shape(node)
    if cuts:
        starts, ends, steps, axes = (graph.ints(numbers) for numbers in zip(*cuts, strict=True))
        inputs = [name, starts, ends, axes, steps]
        name = graph.add("Slice", inputs, path, stored(shape, layout))
    return graph.reshape(name, stored(node.shape, after), path), after


def concat(to: Renderer, node: Node) -> Rendered:
    layout, rank = to.wish(node), len(node.shape)
    layout = NATURAL if layout.split else layout
    names = [to.value(x, layout) for x in node.inputs]
    axis = order(rank, layout).index(node.attrs[0])
    shape = stored(node.shape, layout)
    return to.graph.add("Concat", names, to.path(node), shape, axis=axis), layout


def take(to: Renderer, node: Node) -> Rendered:
    (x, indices), (axis,), path = node.inputs, node.attrs, to.path(node)
    layout = to.layout(x)
    if len(indices.shape) != 1 or layout.split:
        layout = NATURAL
    rows = to.value(indices)
    if indices.dtype not in _NUMBERED:
        rows = to.graph.cast(rows, np.int64, path)
    place = order(len(x.shape), layout).index(axis)
    shape = stored(node.shape, layout)
    return to.graph.add("Gather", [to.value(x, layout), rows], path, shape, axis=place), layout


def part(to: Renderer, node: Node) -> Rendered:
    head = node.inputs[0]
    layout = to.layout(head)
    return to.value(head, layout), layout


MOVE_RULES = {
    "reshape": reshape,
    "permute": permute,
    "broadcast": broadcast,
    "full": full,
    "slice": cut,
    "concat": concat,
    "take": take,
    "part": part,
}
