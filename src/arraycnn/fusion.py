"""Fusion: a run of layers becomes one that a record of kernels computes at once.

A rewrite of the network that a plan runs, and of nothing else: parameters, paths, summaries and
files stay those of the network as the user wrote it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.layers import Conv2d, MaxPool2d, ReLU
from arraycnn.layers.layer import Context, Layer, Shape, Tree, check_images
from arraycnn.layers.sequential import NamedLayers
from arraycnn.ops import Array, Kernels


@dataclass(frozen=True)
class ConvReLU2d:
    """Conv2d, then ReLU; parameters and path are the convolution's."""

    conv: Conv2d

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self.conv.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        weight = params["weight"]
        check_images("Conv2d", x, channels=weight.shape[2])
        window = self.conv.window(x.shape[1], x.shape[2])
        y = context.ops.conv2d_relu(context.ops, x, weight, params.get("bias"), window)
        return y, state, (x, y)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        x, y = residuals
        window = self.conv.window(x.shape[1], x.shape[2])
        dx, dweight, dbias = context.ops.conv2d_relu_backward(
            context.ops, x, params["weight"], y, dy, window, need_dx
        )
        return dx, _gradients(self.conv, dweight, dbias)


@dataclass(frozen=True)
class ConvPool2d:
    """Conv2d, perhaps ReLU, then MaxPool2d; parameters and path are the convolution's."""

    conv: Conv2d
    relu: bool
    pool: MaxPool2d

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        params, state, shape = self.conv.init(rng, input_shape)
        return params, state, self.pool.init(rng, shape)[2]

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        weight = params["weight"]
        check_images("Conv2d", x, channels=weight.shape[2])
        window = self.conv.window(x.shape[1], x.shape[2])
        pool = self.pool.window(*window.output_shape(x.shape[1], x.shape[2]))
        y, winners = context.ops.conv2d_max_pool2d(
            context.ops, x, weight, params.get("bias"), window, self.relu, pool
        )
        return y, state, (x, y, winners)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        x, y, winners = residuals
        window = self.conv.window(x.shape[1], x.shape[2])
        pool = self.pool.window(*window.output_shape(x.shape[1], x.shape[2]))
        dx, dweight, dbias = context.ops.conv2d_max_pool2d_backward(
            context.ops, x, params["weight"], y, winners, dy, window, self.relu, pool, need_dx
        )
        return dx, _gradients(self.conv, dweight, dbias)


def fuse(layers: NamedLayers, ops: Kernels) -> NamedLayers:
    """``layers`` with each run that ``ops`` has a kernel for as one layer, under its first name."""
    fused: NamedLayers = []
    place = 0
    while place < len(layers):
        name, first = layers[place]
        layer, length = _longest_run(first, [layer for _, layer in layers[place + 1 :]], ops)
        fused.append((name, layer))
        place += length
    return fused


def _longest_run(first: Layer, following: list[Layer], ops: Kernels) -> tuple[Layer, int]:
    """The layer that stands for the run beginning with ``first``, and the run's length."""
    if type(first) is not Conv2d:  # a subclass may compute something else
        return first, 1
    relu = len(following) > 0 and type(following[0]) is ReLU
    pool = following[relu] if len(following) > relu else None
    if ops.conv2d_max_pool2d is not None and type(pool) is MaxPool2d and pool.ties == "first":
        return ConvPool2d(first, relu, pool), 2 + relu
    if ops.conv2d_relu is not None and relu:
        return ConvReLU2d(first), 2
    return first, 1


def _gradients(conv: Conv2d, dweight: Array, dbias: Array) -> Tree:
    return {"weight": dweight, "bias": dbias} if conv.bias else {"weight": dweight}
