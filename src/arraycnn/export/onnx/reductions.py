"""Sums, largest numbers and their places, over some axes."""

from __future__ import annotations

import numpy as np

from arraycnn.export.onnx.layouts import NATURAL, after_reduction, order, stored
from arraycnn.export.onnx.render import Rendered, Renderer
from arraycnn.program.nodes import Node

_KINDS = {
    "sum": "ReduceSum",
    "prod": "ReduceProd",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "any": "ReduceMax",
    "all": "ReduceMin",
    "mean": "ReduceMean",
    "argmax": "ArgMax",
    "argmin": "ArgMin",
}
_OF_IMAGES = {"mean": "GlobalAveragePool", "max": "GlobalMaxPool"}
"""The same of all pixels of each channel, where these lie last: quicker."""
_WIDE = ("float32", "float64", "int32", "int64")


def reduction(to: Renderer, node: Node) -> Rendered:
    (x,), (axes, keepdims), path = node.inputs, node.attrs, to.path(node)
    layout, rank = to.layout(x), len(x.shape)
    after = after_reduction(node, rank, layout)
    if after is None:
        layout = NATURAL
        after = after_reduction(node, rank, layout) or NATURAL
    name, graph, kind = to.value(x, layout), to.graph, _KINDS[node.op]
    is_place = node.op in ("argmax", "argmin")
    dtype = node.dtype if node.op in ("sum", "prod") else x.dtype
    if str(dtype) not in _WIDE or (is_place and dtype.kind != "f"):
        dtype = np.dtype(np.int64 if dtype.kind != "b" else np.int32)
        if is_place:
            dtype = np.dtype(np.float64)
    if x.dtype != dtype:
        name = graph.cast(name, dtype, path)
    shape = stored(node.shape, after)
    lies = order(rank, layout)
    along = sorted(lies.index(axis) for axis in axes)
    settings = {"keepdims": int(keepdims)}
    if is_place:
        return graph.add(kind, [name], path, shape, axis=along[0], **settings), after
    if not is_place and all(x.shape[axis] == 1 for axis in axes):
        name = graph.reshape(name, shape, path)
    elif node.op in _OF_IMAGES and dtype == np.float32 and along == [*range(2, rank)]:
        pixel = (*stored(x.shape, layout)[:2], *(1 for _ in along))
        name = graph.add(_OF_IMAGES[node.op], [name], path, pixel)
        name = graph.reshape(name, shape, path)
    elif node.op == "sum":
        name = graph.add(kind, [name, graph.ints(along)], path, shape, **settings)
    else:
        name = graph.add(kind, [name], path, shape, axes=along, **settings)
    return (name if dtype == node.dtype else graph.cast(name, node.dtype, path)), after


REDUCTION_RULES = {"reduce": reduction, "mean": reduction}
