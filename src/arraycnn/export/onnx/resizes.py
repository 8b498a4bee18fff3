"""Images made larger along an axis: what `Upsample2d` computes is one operation in ONNX.

The nearest pixels are the same numbers side by side. For straight lines between them, a part of the
program is compared, node by node, with what that layer itself is traced to.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from arraycnn.export.onnx.batch import of_any_batch
from arraycnn.export.onnx.heads import ONNX_HEADS
from arraycnn.layers import Context, Upsample2d
from arraycnn.program.nodes import Node, Program
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.trace import trace


def resized(stack: Node) -> Node:
    """What stands for a "concat": images that are made larger along an axis, before it is one again."""
    axis, times = stack.attrs[0] - 1, len(stack.inputs)
    if len(stack.shape) != 5 or axis not in (1, 2) or stack.dtype != np.float32:
        return stack
    if stack.shape[0] != -1 or stack.shape[axis + 1] != times:
        return stack
    shape = (*stack.shape[: axis + 1], *stack.shape[axis + 2 :])
    first = stack.inputs[0]
    if all(part is first for part in stack.inputs):
        x = Node("reshape", (first,), (), shape, stack.dtype, stack.where)
        return _resize(x, axis, times, "nearest", stack)
    for x in _below(first):
        is_like = x.shape == shape and x.dtype == stack.dtype
        if is_like and _is_same(stack, x, *_bilinear(axis, times, shape)):
            return _resize(x, axis, times, "bilinear", stack)
    return stack


def _resize(x: Node, axis: int, times: int, method: str, stack: Node) -> Node:
    x, shape = _itself(x), (*x.shape[:axis], x.shape[axis] * times, *x.shape[axis + 1 :])
    scales = (times, 1) if axis == 1 else (1, times)
    if x.op == "resize" and x.attrs[1] == method and x.attrs[0][axis - 1] == 1:
        # Along the other axis before: both at once.
        scales = (scales[0] * x.attrs[0][0], scales[1] * x.attrs[0][1])
        x = x.inputs[0]
    larger = Node("resize", (x,), (scales, method), shape, x.dtype, stack.where)
    return Node("reshape", (larger,), (), stack.shape, stack.dtype, stack.where)


def _itself(x: Node) -> Node:
    """What is reshaped to ``x`` and has its shape already, or ``x``."""
    of = x
    while of.op == "reshape":
        of = of.inputs[0]
    return of if of.shape == x.shape else x


def _below(node: Node) -> Iterator[Node]:
    """What the first of what the first of ... ``node`` is made of, and ``node``."""
    yield node
    while node.operands:
        node = node.operands[0]
        yield node


@lru_cache
def _bilinear(axis: int, times: int, shape: tuple[int, ...]) -> tuple[Node, Node]:
    """What `Upsample2d` is traced to, but for the reshape at its end, and what it is given."""
    layer = Upsample2d((times, 1) if axis == 1 else (1, times), "bilinear")

    def traced(batch_size: int) -> Program:
        def function(note: Any) -> dict[str, Any]:
            x = note.input("x", (batch_size, *shape[1:]), np.float32)
            y, _, _ = layer.forward({}, {}, x, Context(ONNX_HEADS, "infer", "float32"))
            return {"y": y}

        return trace(function)

    program = simplified(of_any_batch(traced))
    return program.outputs["y"].inputs[0], program.inputs["x"]


def _is_same(node: Any, x: Node, wanted: Any, given: Node) -> bool:
    """Whether ``node`` is made of ``x`` as ``wanted`` is of ``given``."""
    if not isinstance(wanted, Node) or not isinstance(node, Node):
        return type(node) is type(wanted) and repr(node) == repr(wanted)
    if wanted is given or node is x:
        return wanted is given and node is x
    if (node.op, node.attrs, node.shape) != (wanted.op, wanted.attrs, wanted.shape):
        return False
    if node.dtype != wanted.dtype or len(node.inputs) != len(wanted.inputs):
        return False
    pairs = zip(node.inputs, wanted.inputs, strict=True)
    return all(_is_same(value, x, other, given) for value, other in pairs)
