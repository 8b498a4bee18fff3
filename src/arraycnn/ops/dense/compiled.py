"""Launch code of dense layers."""

from __future__ import annotations

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops.compiled.kernels.vectors import BYTES
from arraycnn.ops.compiled.launcher import WORTH, Launcher
from arraycnn.ops.dense import compiled_kernels as kernels
from arraycnn.ops.dense.compiled_products import ROWS, VECTORS
from arraycnn.ops.kernels import Kernels


def matmul(launcher: Launcher, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _dense(launcher, "matmul", a, b, None, False)


def dense(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> np.ndarray:
    return _dense(launcher, "dense", x, weight, bias, False)


def dense_relu(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> np.ndarray:
    return _dense(launcher, "dense_relu", x, weight, bias, True)


def _dense(
    launcher: Launcher, owner: str, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None,
    relu: bool,
) -> np.ndarray:  # fmt: skip
    biases = [] if bias is None else [bias]
    x, weight, *biases = launcher.floating(owner, x, weight, *biases)
    bias = biases[0] if biases else None
    (images, inputs), outputs = x.shape, weight.shape[1]
    if weight.shape[0] != inputs:
        message = f"{owner}: shapes {x.shape} and {weight.shape} do not fit; transpose one of them"
        raise InvalidValueError(message)
    if 0 in (images, inputs, outputs):
        y = np.matmul(x, weight) + (0 if bias is None else bias)
        return np.maximum(y, 0) if relu else y
    y = launcher.empty((images, outputs), x.dtype)
    rows, columns = images, outputs  # of a block
    if images * inputs * outputs > WORTH:
        rows, columns = 8 * ROWS, 2 * VECTORS * (BYTES // x.itemsize)
    blocks = -(-images // rows) * -(-outputs // columns)
    launch = kernels.Forward(
        x=x, weight=weight, bias=bias, y=y, images=images, inputs=inputs, outputs=outputs,
        relu=relu, block_rows=rows, block_columns=columns,
    )  # fmt: skip
    launcher.launch(kernels.forward, blocks, launch, like=x)
    return y


def dense_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, dy: np.ndarray,
    need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    return _dense_backward(launcher, "dense_backward", x, weight, None, dy, need_dx)


def dense_relu_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, y: np.ndarray,
    dy: np.ndarray, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    return _dense_backward(launcher, "dense_relu_backward", x, weight, y, dy, need_dx)


def _dense_backward(
    launcher: Launcher, owner: str, x: np.ndarray, weight: np.ndarray, y: np.ndarray | None,
    dy: np.ndarray, need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:  # fmt: skip
    x, weight, dy, y_given = launcher.floating(owner, x, weight, dy, dy if y is None else y)
    (images, inputs), outputs = x.shape, weight.shape[1]
    if 0 in (images, inputs, outputs):
        gradient = dy if y is None else np.where(y_given > 0, dy, 0)
        dx = np.zeros(x.shape, x.dtype) if need_dx else None
        return dx, np.zeros(weight.shape, x.dtype), gradient.sum(axis=0)
    dy, dbias = _let_through(launcher, dy, None if y is None else y_given)
    dx = launcher.empty(x.shape, x.dtype) if need_dx else None
    dweight = launcher.empty(weight.shape, x.dtype)
    block_inputs = 8 * ROWS * -(-WORTH // max(1, images * outputs * 8 * ROWS))
    block_inputs = max(1, min(block_inputs, inputs))
    launch = kernels.Backward(
        x=x, weight=weight, dy=dy, dx=dx, dweight=dweight,
        images=images, inputs=inputs, outputs=outputs, block_inputs=block_inputs,
    )  # fmt: skip
    room = block_inputs * (images + outputs) + BYTES
    launcher.launch(kernels.backward, -(-inputs // block_inputs), launch, like=x, room=room)
    return dx, dweight, dbias


def _let_through(
    launcher: Launcher, dy: np.ndarray, y: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(``dy``, zero where ``y``, a ReLU's output, is zero; its sum over all but the last axis)."""
    outputs = dy.shape[-1]
    passed = None if y is None else launcher.empty(dy.shape, dy.dtype)
    dbias = launcher.empty((outputs,), dy.dtype)
    launch = kernels.LetThrough(
        dy=dy, y=y, passed=passed, dbias=dbias, images=dy.size // outputs, outputs=outputs
    )
    launcher.launch(kernels.let_through, 1, launch, like=dy)
    return dy if passed is None else passed, dbias
