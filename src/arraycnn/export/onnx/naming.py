"""Which layer a node belongs to, for names in the graph and for messages."""

from __future__ import annotations

from arraycnn.program.nodes import AND, Node


def path_of(node: Node) -> str:
    """The path of the layer: "3.body.0"; the name of an input, "" for what else is no layer's."""
    return node.attrs[0] if node.op == "input" else _layer(node).partition(" ")[0]


def owner_of(node: Node) -> str:
    """The same in words: "layer 3.body.0, Conv2d"."""
    path, _, name = _layer(node).partition(" ")
    return f"layer {path}, {name}" if name else "the loss"


def _layer(node: Node) -> str:
    layer = node.where.split(AND)[0].partition(",")[0]
    return "" if layer == "outputs" else layer
