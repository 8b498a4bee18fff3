"""Convolutions, pools and products: what ONNX has an operation for, and its weights' axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.export.onnx.layouts import CHANNELS_FIRST, NATURAL, Layout, order, stored
from arraycnn.export.onnx.render import Rendered, Renderer
from arraycnn.ops import Window
from arraycnn.program.nodes import Node


def convolution(to: Renderer, node: Node) -> Rendered:
    x, weight, *bias = node.inputs
    (window,) = node.attrs
    settings = _settings(window)
    if node.op == "grouped_conv2d":
        settings |= {"dilations": window.dilation, "group": x.shape[3] // weight.shape[2]}
    arrays = [_turned(to, weight, (3, 2, 0, 1)), *map(to.value, bias)]
    return _channels_first(to, node, "Conv", arrays, settings)


def transposed(to: Renderer, node: Node) -> Rendered:
    """A convolution's adjoint: of rows of the images, times a table (C, KH * KW * F), added up."""
    x, table, *bias = node.inputs
    (window,), channels = node.attrs, node.shape[3]
    whole = window.padded_shape(*node.shape[1:3])
    beyond = [
        whole[axis] - (x.shape[1 + axis] - 1) * window.stride[axis] - window.extent[axis]
        for axis in (0, 1)
    ]
    settings = {**_settings(window), "output_padding": beyond}
    if window.dilation != (1, 1):
        settings["dilations"] = window.dilation
    shape = (x.shape[3], *window.kernel_size, channels)
    array, axes = to.array(table), (0, 3, 1, 2)
    if array is not None:
        weight = to.constant(table, array.reshape(shape).transpose(axes))
    else:
        weight = to.graph.reshape(to.value(table), shape, to.path(node))
        weight = to.graph.transpose(weight, axes, to.path(node))
    return _channels_first(to, node, "ConvTranspose", [weight, *map(to.value, bias)], settings)


def pool(to: Renderer, node: Node) -> Rendered:
    settings = _settings(node.attrs[0])
    if node.op == "avg_pool2d":
        return _channels_first(to, node, "AveragePool", [], {**settings, "count_include_pad": 1})
    return _channels_first(to, node, "MaxPool", [], settings)


def batch_norm(to: Renderer, node: Node) -> Rendered:
    arrays = [to.value(x) for x in node.inputs[1:]]
    return _channels_first(to, node, "BatchNormalization", arrays, {"epsilon": node.attrs[0]})


def resize(to: Renderer, node: Node) -> Rendered:
    scales, method = node.attrs
    sizes = np.array([1.0, 1.0, *scales], np.float32)
    arrays = ["", to.graph.constant(f"{sizes.tolist()}", sizes)]
    if method == "bilinear":
        return _channels_first(to, node, "Resize", arrays, {"mode": "linear"})
    settings = {"mode": "nearest", "nearest_mode": "floor"}
    settings["coordinate_transformation_mode"] = "asymmetric"
    return _channels_first(to, node, "Resize", arrays, settings)


def _settings(window: Window) -> dict[str, Any]:
    top, bottom, left, right = window.padding
    pads = {"pads": [top, left, bottom, right]} if any(window.padding) else {}
    return {"kernel_shape": window.kernel_size, "strides": window.stride, **pads}


def _channels_first(
    to: Renderer, node: Node, kind: str, arrays: list[str], settings: dict[str, Any]
) -> Rendered:
    x = to.value(node.inputs[0], CHANNELS_FIRST)
    shape = stored(node.shape, CHANNELS_FIRST)
    return to.graph.add(kind, [x, *arrays], to.path(node), shape, **settings), CHANNELS_FIRST


def _turned(to: Renderer, weight: Node, axes: tuple[int, ...]) -> str:
    array = to.array(weight)
    if array is not None:
        return to.constant(weight, array.transpose(axes))
    return to.graph.transpose(to.value(weight), axes, to.path(weight))


def product(to: Renderer, node: Node) -> Rendered:
    """A dense layer or a matrix product. A table takes up in which order the rows' numbers lie."""
    x, weight, *bias = node.inputs
    layout, array = to.layout(x), to.array(weight)
    if array is None or not layout.split:
        layout = NATURAL
    if array is not None and layout.split:
        table = to.constant(weight, _rows_laid_out(array, layout))
    else:
        table = to.value(weight)
    names = [to.value(x, layout), table, *map(to.value, bias)]
    kind = "MatMul" if node.op == "matmul" else "Gemm"
    return to.graph.add(kind, names, to.path(node), node.shape), NATURAL


def _rows_laid_out(table: np.ndarray, layout: Layout) -> np.ndarray:
    """The rows of ``table`` in the order in which the numbers lie that they are multiplied by."""
    inner = table.reshape(1, *layout.split, table.shape[1])
    axes = order(inner.ndim - 1, Layout(layout.tail))
    return inner.transpose(*axes, inner.ndim - 1).reshape(table.shape)


def softmax(to: Renderer, node: Node) -> Rendered:
    layout, rank = to.wish(node), len(node.shape)
    x, shape = to.value(node.inputs[0], layout), stored(node.shape, layout)
    axis = order(rank, layout).index(rank - 1)
    axis = axis if axis < rank - 1 else -1
    return to.graph.add("Softmax", [x], to.path(node), shape, axis=axis), layout


WINDOW_RULES = {
    "conv2d": convolution,
    "grouped_conv2d": convolution,
    "conv_transpose2d": transposed,
    "max_pool2d": pool,
    "avg_pool2d": pool,
    "batch_norm": batch_norm,
    "resize": resize,
    "softmax": softmax,
    "dense": product,
    "matmul": product,
}
