"""The reference interpreter: a program, node by node, on NumPy.

It does what the eager step does on NumPy's arrays with the generic kernels, to the last bit. So it
proves the tracing and the passes; what is rendered is compared with it, or with the eager step.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from arraycnn.ops import GENERIC
from arraycnn.program.nodes import Node, Program

_NUMPY_NAMES = {
    "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift",
    "bitwise_invert": "invert",
}


@np.errstate(all="ignore")
def interpret(program: Program, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The program's outputs for the arrays ``values``, by the names of its inputs."""
    held: dict[Node, Any] = {}
    for node in program.nodes:
        if node.op == "input":
            held[node] = np.asarray(values[node.attrs[0]])
            continue
        inputs = [held[value] if isinstance(value, Node) else value for value in node.inputs]
        held[node] = _HANDLERS.get(node.op, _by_name)(node, inputs)
    return {name: held[node] for name, node in program.outputs.items()}


def _by_name(node: Node, inputs: list) -> Any:
    if node.kind == "pointwise":
        return getattr(np, _NUMPY_NAMES.get(node.op, node.op))(*inputs)
    axes, keepdims = node.attrs
    if node.op in ("argmax", "argmin"):
        return getattr(np, node.op)(inputs[0], axis=axes[0], keepdims=keepdims)
    dtype = {"dtype": node.dtype} if node.op in ("sum", "prod") else {}
    return getattr(np, node.op)(inputs[0], axis=axes, keepdims=keepdims, **dtype)


def _update(node: Node, inputs: list) -> np.ndarray:
    result = np.array(inputs[0])
    result[node.attrs] = inputs[1]
    return result


def _head(node: Node, inputs: list) -> Any:
    kernel, attrs = getattr(GENERIC, node.op), node.attrs
    if node.op == "matmul":
        return kernel(*inputs)
    if node.op in ("max_pool2d", "max_pool2d_backward", "at_winners"):
        result = kernel(*inputs, *attrs)
        return (result[0], result[1].astype(np.uint8)) if node.op == "max_pool2d" else result
    if node.op in ("dense", "conv2d") and len(inputs) == 2:
        inputs = [*inputs, None]
    return kernel(GENERIC, *inputs, *attrs)


def _with_epilogue(node: Node, inputs: list) -> Any:
    """A convolution or dense layer, then what has joined it, one by one."""
    base, _, what = node.op.removesuffix("_backward").partition("_")
    attrs, is_pool = node.attrs, what == "max_pool2d"
    if not node.op.endswith("_backward"):
        y = getattr(GENERIC, base)(GENERIC, *inputs, *[None] * (3 - len(inputs)), *attrs[:1])
        if not is_pool:
            return np.maximum(y, 0.0)
        values, winners = GENERIC.max_pool2d(
            np.maximum(y, 0.0) if attrs[1] else y, attrs[2], "first"
        )
        return values, winners.astype(np.uint8)
    x, weight, y, *winners, dy = inputs
    if not is_pool or attrs[1]:
        dy = np.where(y > 0.0, dy, 0.0)
    if is_pool:
        window, _, pool, need_dx = attrs
        shape = (x.shape[0], *window.output_shape(*x.shape[1:3]), weight.shape[3])
        dy = GENERIC.max_pool2d_backward(dy, *winners, shape, pool, "first")
        attrs = window, need_dx
    return getattr(GENERIC, f"{base}_backward")(GENERIC, x, weight, dy, *attrs)


_HANDLERS: dict[str, Callable[[Node, list], Any]] = {
    "pow": lambda node, inputs: operator.pow(*inputs),
    "astype": lambda node, inputs: np.asarray(inputs[0]).astype(node.dtype),
    "reshape": lambda node, inputs: np.reshape(inputs[0], node.shape),
    "permute": lambda node, inputs: np.transpose(inputs[0], node.attrs),
    "slice": lambda node, inputs: np.asarray(inputs[0])[node.attrs],
    "broadcast": lambda node, inputs: np.broadcast_to(inputs[0], node.shape),
    "arange": lambda node, inputs: np.arange(*node.attrs, dtype=node.dtype),
    "full": lambda node, inputs: np.full(node.shape, node.attrs[0], node.dtype),
    "constant": lambda node, inputs: node.attrs[0].array,
    "take": lambda node, inputs: np.take(inputs[0], inputs[1], axis=node.attrs[0]),
    "concat": lambda node, inputs: np.concatenate(inputs, axis=node.attrs[0]),
    "update": _update,
    "opaque": lambda node, inputs: node.attrs[0](inputs, GENERIC),
    "part": lambda node, inputs: inputs[0][node.attrs[0]],
    **dict.fromkeys(["matmul", "dense", "dense_backward", "conv2d", "conv2d_backward"], _head),
    **dict.fromkeys(["max_pool2d", "max_pool2d_backward", "at_winners"], _head),
    **dict.fromkeys(["dense_relu", "dense_relu_backward"], _with_epilogue),
    **dict.fromkeys(["conv2d_relu", "conv2d_relu_backward"], _with_epilogue),
    **dict.fromkeys(["conv2d_max_pool2d", "conv2d_max_pool2d_backward"], _with_epilogue),
}
