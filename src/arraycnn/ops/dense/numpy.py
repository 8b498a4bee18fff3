"""Dense layers, alone and with the ReLU that follows them."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.dense.numpy_products import Product, product
from arraycnn.ops.host_launcher import check_arrays
from arraycnn.ops.kernels import Kernels
from arraycnn.ops.numpy.bias import relu
from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.ops.numpy.masks import let_through


def dense(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> np.ndarray:
    """See `arraycnn.ops.generic.dense`."""
    check_arrays("dense", x, weight)
    y = launcher.empty((x.shape[0], weight.shape[1]), np.result_type(x, weight))
    product(launcher, x, weight, y)
    if bias is not None:
        launcher.call(np.add, y, bias, out=y)
    return y


def dense_relu(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> np.ndarray:
    """max(`dense`, 0)."""
    y = dense(launcher, ops, x, weight, bias)
    relu(launcher, y)
    return y


def dense_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, dy: np.ndarray,
    need_dx: bool, late: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | Product, np.ndarray]:  # fmt: skip
    """See `arraycnn.ops.generic.dense_backward`; ``late``: dweight is a `Product`."""
    check_arrays("dense_backward", x, weight, dy)
    dx = None
    if need_dx:
        dx = launcher.empty(x.shape, dy.dtype)
        product(launcher, dy, weight.T, dx)
    dweight: np.ndarray | Product = Product(x.T, dy)
    if not late:
        dweight = launcher.empty(weight.shape, dy.dtype)
        product(launcher, x.T, dy, dweight)
    dbias = launcher.empty(weight.shape[1:], dy.dtype)
    if len(dy) == 1:
        launcher.call(np.copyto, dbias, dy[0])
    else:
        launcher.call(np.add.reduce, dy, axis=0, out=dbias)
    return dx, dweight, dbias


def dense_relu_backward(
    launcher: Launcher, ops: Kernels, x: np.ndarray, weight: np.ndarray, y: np.ndarray,
    dy: np.ndarray, need_dx: bool, late: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | Product, np.ndarray]:  # fmt: skip
    """Gradients of `dense_relu`, whose output was ``y``: (dx or None, dweight, dbias)."""
    check_arrays("dense_relu_backward", y, dy)
    dy = launcher.contiguous(dy)
    passed = launcher.between(dy.shape, dy.dtype)

    launcher.alone(lambda: let_through(launcher, dy, y, passed))
    return dense_backward(launcher, ops, x, weight, passed, need_dx, late)
