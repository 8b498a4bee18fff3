"""Parts of a program that ONNX has as one operation, found by what they compute.

Runtimes have fast code for these. A pattern is a function of the standard: it is traced, and a part of
the program that is the same, node by node, is that operation, whoever wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from arraycnn.export.onnx.batch import OfBatch
from arraycnn.export.onnx.joined import joined
from arraycnn.export.onnx.norms import normalized
from arraycnn.export.onnx.resizes import resized
from arraycnn.export.onnx.slices import padding_of
from arraycnn.layers.sigmoid import sigmoid
from arraycnn.losses.loss import sigmoid as loss_sigmoid
from arraycnn.program.nodes import Frozen, Node, Program, replaced
from arraycnn.program.passes.dead import without_dead
from arraycnn.program.trace import trace

_COMMUTE = frozenset(["add", "multiply", "maximum", "minimum"])


_ALPHA = 0.7390851332151607
"""In a pattern: any number, which becomes the setting "alpha"."""


@dataclass(frozen=True)
class _Pattern:
    """``function(xp, x)`` is the operation ``kind`` with these settings."""

    kind: str
    function: Callable[..., Any]
    settings: tuple[tuple[str, float], ...] = ()


_ACTIVATIONS = (
    _Pattern("Relu", lambda xp, x: xp.maximum(x, 0.0)),
    _Pattern("LeakyRelu", lambda xp, x: xp.where(x > 0.0, x, _ALPHA * x)),
    _Pattern("Elu", lambda xp, x: xp.where(x > 0.0, x, _ALPHA * xp.expm1(xp.minimum(x, 0.0)))),
    _Pattern("Sigmoid", sigmoid),
    _Pattern("Sigmoid", loss_sigmoid),
    _Pattern("Sigmoid", lambda xp, x: 1.0 / (1.0 + xp.exp(-x))),
    _Pattern("HardSwish", lambda xp, x: x * (xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0)),
    _Pattern(
        "HardSigmoid",
        lambda xp, x: xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0,
        (("alpha", 1.0 / 6.0), ("beta", 0.5)),
    ),
)


def with_patterns(program: Program) -> Program:
    """The program with one node for each part that is one operation in ONNX."""
    instead: dict[Node, Node] = {}
    nodes: dict[Node, None] = {}
    for old, new in replaced(program, instead):
        node = _activation(old, new, instead) or _SINGLE.get(new.op, _same)(new)
        if node is not old:
            instead[old] = node
        nodes.update(dict.fromkeys(_with_new(node, nodes)))
    outputs = {name: instead.get(node, node) for name, node in program.outputs.items()}
    return without_dead(Program(tuple(nodes), program.inputs, outputs))


def _with_new(node: Node, known: Collection[Node]) -> Iterator[Node]:
    """``node`` behind what it is made of, as far as that is not yet ``known``."""
    for operand in node.operands:
        if operand not in known:
            yield from _with_new(operand, known)
    yield node


def _like(node: Node, op: str, inputs: tuple[Any, ...], attrs: tuple[Any, ...]) -> Node:
    return Node(op, inputs, attrs, node.shape, node.dtype, node.where)


# What has settings of its own for a step before or after it


def _padded(node: Node) -> Node:
    """A convolution or pool of a padded image, as one with padding."""
    x, window = node.inputs[0], node.attrs[0]
    sides = padding_of(x)
    outside = -math.inf if node.op == "max_pool2d" else 0.0
    if sides is None or x.inputs[0].attrs[0] != outside:
        return node
    if sides[0] != (0, 0) or sides[3] != (0, 0) or x.inputs[1].dtype != x.dtype:
        return node
    more = (*sides[1], *sides[2])
    # Runtimes refuse a pool whose window can lie outside the image.
    tall, wide = window.kernel_size
    if "pool" in node.op and (max(more[:2]) >= tall or max(more[2:]) >= wide):
        return node
    padding = tuple(a + b for a, b in zip(window.padding, more, strict=True))
    inputs = (x.inputs[1], *node.inputs[1:])
    return _like(node, node.op, inputs, (replace(window, padding=padding), *node.attrs[1:]))


def _with_bias(node: Node) -> Node:
    """A transposed convolution, and a number added to each of its channels."""
    y, bias = node.inputs
    is_one = isinstance(y, Node) and y.op == "conv_transpose2d" and len(y.inputs) == 2
    if is_one and isinstance(bias, Node) and bias.shape == y.shape[3:] and bias.dtype == y.dtype:
        return _like(node, y.op, (*y.inputs, bias), y.attrs)
    return node


def _conv_transpose(node: Node) -> Node:
    """Columns that are added up: a transposed convolution, of the images whose columns they are.

    Where the columns are no product, those are its images, and each number has a place of its own.
    """
    (columns,), (window,) = node.inputs, node.attrs
    images, height, width, channels = node.shape
    output = window.output_shape(height, width)
    count = math.prod(window.kernel_size) * channels
    rows, weight = columns, None
    if columns.op == "matmul":
        rows, weight = columns.inputs
    if weight is None:
        table = np.eye(count, dtype=node.dtype)

        weight = Node("constant", (), (Frozen(table),), table.shape, node.dtype, node.where)
    shape = (images, *output, rows.shape[1])
    if rows.op == "reshape" and rows.inputs[0].shape == shape:
        rows = rows.inputs[0]
    else:
        rows = Node("reshape", (rows,), (), shape, node.dtype, node.where)
    return _like(node, "conv_transpose2d", (rows, weight), (window,))


def _of_pixels(node: Node) -> Node:
    """A reduction over the pixels of images that are reshaped to one axis."""
    (x,), (axes, keepdims) = node.inputs, node.attrs
    if x.op != "reshape" or len(x.shape) != 3 or axes != (1,) or keepdims:
        return node
    images = x.inputs[0]
    is_of_pixels = len(images.shape) == 4 and images.shape[::3] == x.shape[::2]
    return _like(node, node.op, (images,), ((1, 2), False)) if is_of_pixels else node


def _mean(node: Node) -> Node:
    """A sum over as many numbers as it is divided by."""
    total, count = node.inputs
    if not isinstance(total, Node) or total.op != "sum" or isinstance(count, Node):
        return node
    (x,), (axes, keepdims) = total.inputs, total.attrs
    size = math.prod(x.shape[axis] for axis in axes)
    wanted = OfBatch(float(-size)) if size < 0 else float(size)
    if x.dtype != node.dtype or node.dtype.kind != "f" or not axes or count != wanted:
        return node
    return _like(node, "mean", (x,), (axes, keepdims))


def _concatenation(node: Node) -> Node:
    whole = joined(node)
    return resized(node) if whole is node else whole


def _same(node: Node) -> Node:
    return node


_SINGLE: dict[str, Callable[[Node], Node]] = {
    **dict.fromkeys(["conv2d", "grouped_conv2d", "avg_pool2d", "max_pool2d"], _padded),
    **dict.fromkeys(["max", "min", "sum", "prod"], _of_pixels),
    "divide": _mean,
    "add": _with_bias,
    "col2im": _conv_transpose,
    "concat": _concatenation,
    "multiply": normalized,
}
"""For each operation, what a node may be a part of."""


# Activations


def _activation(node: Node, new: Node, instead: dict[Node, Node]) -> Node | None:
    """``new``, which stands for ``node``, as one activation; None where it is none.

    Runtimes have them in float32 alone.
    """
    if node.kind != "pointwise" or node.dtype != np.float32:
        return None
    for pattern, root in _traced():
        bound: dict[str, Any] = {}
        if _matches(root, node, node, bound):
            x = bound.pop("x")
            settings = (*pattern.settings, *bound.items())
            return _like(new, "activation", (instead.get(x, x),), (pattern.kind, settings))
    return None


@lru_cache
def _traced() -> list[tuple[_Pattern, Node]]:
    """Each pattern with the node that its function gives."""
    found = []
    for pattern in _ACTIVATIONS:

        def function(note: Any, pattern: _Pattern = pattern) -> dict:
            x = note.input("x", (2, 3), np.float32)
            return {"y": pattern.function(x.namespace, x)}

        found.append((pattern, trace(function).outputs["y"]))
    return found


def _matches(pattern: Node, node: Any, root: Node, bound: dict[str, Any]) -> bool:
    """Whether ``node`` is what ``pattern`` says; what it is given is then ``bound``."""
    if not isinstance(node, Node) or node.shape != root.shape or node.dtype != pattern.dtype:
        return False
    if pattern.op == "input":
        return bound.setdefault("x", node) is node
    if node.op != pattern.op or len(node.inputs) != len(pattern.inputs):
        return False
    if node.attrs != pattern.attrs:
        return False
    orders = [node.inputs]
    if node.op in _COMMUTE:
        orders.append(node.inputs[::-1])
    for inputs in orders:
        trial = dict(bound)
        if all(_fits(*pair, root, trial) for pair in zip(pattern.inputs, inputs, strict=True)):
            bound.update(trial)
            return True
    return False


def _fits(wanted: Any, value: Any, root: Node, bound: dict[str, Any]) -> bool:
    if isinstance(wanted, Node):
        return _matches(wanted, value, root, bound)
    if isinstance(value, Node | OfBatch):
        return False
    if wanted == _ALPHA:
        return bound.setdefault("alpha", float(value)) == value
    return float(value) == float(wanted)
