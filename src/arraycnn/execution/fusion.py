"""Fusion: a run of layers becomes one that a record of kernels computes at once.

A rewrite of the network that a plan runs, and of nothing else: parameters, paths, summaries and
files stay those of the network as the user wrote it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers import Conv2d, Dense, MaxPool2d, ReLU, Sequential
from arraycnn.layers.branches import is_of_branches
from arraycnn.layers.layer import Context, Layer, Shape, Tree, check_images
from arraycnn.layers.sequential import NamedLayers, backward_chain, forward_chain
from arraycnn.ops import Array, Kernels
from arraycnn.training.step import WithLoss, by_logits


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


@dataclass(frozen=True)
class DenseReLU:
    """Dense, then ReLU; parameters and path are the dense layer's."""

    dense: Dense

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self.dense.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        self.dense.check(params, x)
        y = context.ops.dense_relu(context.ops, x, params["weight"], params.get("bias"))
        return y, state, (x, y)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        x, y = residuals
        dx, dweight, dbias = context.ops.dense_relu_backward(
            context.ops, x, params["weight"], y, dy, need_dx
        )
        return dx, _gradients(self.dense, dweight, dbias)


@dataclass(frozen=True)
class Chain(WithLoss):
    """What is left of a Sequential when runs of its layers have become one."""

    layers: tuple[tuple[str, Layer], ...]

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        message = "Chain: stands for a Sequential that has been initialised; initialise that one"
        raise InvalidValueError(message)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        return forward_chain(list(self.layers), params, state, x, context)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        return backward_chain(list(self.layers), params, residuals, dy, context, need_dx)

    def loss_and_gradients(
        self, params: Tree, state: Tree, images: Array, labels: Array, context: Context
    ) -> tuple[Array, Array, Tree, Tree]:
        """The last dense layer and the loss in one, where there is a kernel for it."""
        fused, (name, dense) = context.ops.dense_cross_entropy, self.layers[-1]
        if fused is None or type(dense) is not Dense:
            return by_logits(self, params, state, images, labels, context)
        body = Chain(self.layers[:-1])
        x, state, residuals = body.forward(params, state, images, context)
        dense.check(params[name], x)
        loss_sum, correct, dx, dweight, dbias = fused(
            *(context.ops, x, params[name]["weight"], params[name].get("bias")),
            *(labels, images.shape[0]),
        )
        _, gradients = body.backward(params, residuals, dx, context, need_dx=False)
        return loss_sum, correct, gradients | {name: _gradients(dense, dweight, dbias)}, state


def fuse_network(network: Layer, ops: Kernels) -> Layer:
    """``network`` with every run of layers that ``ops`` has a kernel for as one layer.

    What is inside a Sequential or a branch is fused, too; a user's own layers are left alone.
    State and parameters of the result are ordered as its layers are, under the names of old.
    """
    if is_of_branches(network):
        return network.with_layers([fuse_network(part, ops) for _, part in network.named_layers()])
    if type(network) is not Sequential:
        return network
    inner = [(name, fuse_network(layer, ops)) for name, layer in network.named_layers()]
    return Chain(tuple(fuse(inner, ops)))


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
    relu = len(following) > 0 and type(following[0]) is ReLU
    if type(first) is Dense and relu and ops.dense_relu is not None:
        return DenseReLU(first), 2
    if type(first) is not Conv2d or first.is_grouped:  # a subclass may compute something else
        return first, 1
    pool = following[relu] if len(following) > relu else None
    if ops.conv2d_max_pool2d is not None and type(pool) is MaxPool2d and _is_plain(pool):
        return ConvPool2d(first, relu, pool), 2 + relu
    if ops.conv2d_relu is not None and relu:
        return ConvReLU2d(first), 2
    return first, 1


def _is_plain(pool: MaxPool2d) -> bool:
    return pool.ties == "first" and pool.padding == "valid"


def _gradients(layer: Conv2d | Dense, dweight: Array, dbias: Array) -> Tree:
    return {"weight": dweight, "bias": dbias} if layer.bias else {"weight": dweight}
