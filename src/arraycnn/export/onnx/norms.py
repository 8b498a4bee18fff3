"""Numbers less their mean, over their deviation: what norms have in common."""

from __future__ import annotations

import math

import numpy as np

from arraycnn.export.onnx.layouts import Shape, order, stored
from arraycnn.export.onnx.render import Rendered, Renderer
from arraycnn.program.nodes import Node


def normalized(node: Node) -> Node:
    """What stands for a "multiply": a norm over some axes, or itself."""
    centred, inverse = node.inputs
    match centred, inverse:
        case (
            Node(op="subtract", inputs=(x, Node(op="mean", inputs=(of,), attrs=(axes, True)))),
            Node(op="divide", inputs=(1.0, Node(op="sqrt", inputs=(variance,)))),
        ) if x is of and node.dtype == np.float32:
            match variance:
                case Node(
                    op="add",
                    inputs=(
                        Node(
                            op="mean",
                            inputs=(Node(op="multiply", inputs=(one, other)),),
                            attrs=over,
                        ),
                        float(epsilon),
                    ),
                ) if one is other is centred and over == (axes, True):
                    attrs = axes, epsilon
                    return Node("normal", (x,), attrs, node.shape, node.dtype, node.where)
    return node


def normal(to: Renderer, node: Node) -> Rendered:
    (x,), (axes, epsilon), path = node.inputs, node.attrs, to.path(node)
    layout, rank, graph = to.wish(node), len(node.shape), to.graph
    shape, lies = stored(node.shape, layout), order(rank, layout)
    along, name = sorted(lies.index(axis) for axis in axes), to.value(x, layout)
    inner = shape[along[0] :]
    is_last = along == [*range(along[0], rank)] and min(inner) > 0

    def ones(*sizes: int) -> str:
        return graph.constant(f"{math.prod(sizes)} ones", np.ones(sizes, np.float32))

    def mean(of: str) -> str:
        kept = tuple(1 if place in along else size for place, size in enumerate(shape))
        return graph.add("ReduceMean", [of], path, kept, axes=along, keepdims=1)

    def made(kind: str, *inputs: str, of: Shape = shape, **settings: float) -> str:
        return graph.add(kind, list(inputs), path, of, **settings)

    if is_last and along[0] == 2 and shape[1] > 0:
        zeros = graph.constant(f"{shape[1]} zeros", np.zeros(shape[1], np.float32))
        arrays = name, ones(shape[1]), zeros
        return made("InstanceNormalization", *arrays, epsilon=epsilon), layout
    if is_last and along[0] > 0:
        return made(
            "LayerNormalization", name, ones(*inner), axis=along[0], epsilon=epsilon
        ), layout
    centred = made("Sub", name, mean(name))
    variance = mean(made("Mul", centred, centred))
    kept = graph.shape_of(variance)
    whole = made("Add", variance, graph.scalar(epsilon, node.dtype), of=kept)
    return made("Div", centred, made("Sqrt", whole, of=kept)), layout


NORM_RULES = {"normal": normal}
