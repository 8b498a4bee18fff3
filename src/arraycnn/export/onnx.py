"""ONNX: the trained network as one graph, from pixels to probabilities.

Input and output are those of `Model.predict`: "images" is (N, H, W, C), uint8 where the network
begins with `Rescale`, else float32; "probabilities" is (N, classes) float32. N is free. ONNX
computes channels first, so the graph turns the images once, at its entry, and the weights of the
dense layers are stored in that order.
"""

import json
import logging
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.export.channels_first import Plan, inside, plan
from arraycnn.export.tensors import tensors
from arraycnn.extras import import_extra
from arraycnn.files import write_atomically
from arraycnn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Softmax,
)
from arraycnn.model import Model
from arraycnn.user_paths import user_path

# Old enough for the runtimes in use, new enough for all it takes.
_OPSET, _IR_VERSION = 17, 8
_log = logging.getLogger("arraycnn")


def to_onnx(model: Model) -> Any:
    """``model`` as an ``onnx.ModelProto`` that passes onnx's full check.

    Weights are float32; those of a float64 model are rounded, with a logged line. The names of the
    classes are in the metadata as JSON, under "class_names".

    Raises
    ------
    InvalidTypeError
        A layer is not one of this library's.
    MissingPackageError
        onnx, of the extra ``onnx``, is not installed.
    """
    onnx = import_extra("onnx", "export onnx", "onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    layout = plan(model.network, model.input_shape)
    if model.dtype != "float32":
        _log.warning("export onnx: %s weights rounded to float32", model.dtype)
    graph = _Graph(onnx, layout, _weights(model, layout))
    channels_first = graph.node("Transpose", ["images"], "images", perm=[0, 3, 1, 2])
    logits = graph.add(model.network, "", channels_first)
    graph.node("Softmax", [logits], "probabilities", output="probabilities", axis=1)
    pixel = kinds.UINT8 if layout.takes_pixels else kinds.FLOAT
    images = helper.make_tensor_value_info("images", pixel, ["N", *model.input_shape])
    chances = helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["N", model.classes])
    made = helper.make_model(
        helper.make_graph(graph.nodes, "arraycnn", [images], [chances], graph.initializers),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="arraycnn",
        producer_version=metadata.version("arraycnn"),
    )
    if model.class_names is not None:
        helper.set_model_props(made, {"class_names": json.dumps(model.class_names)})
    onnx.checker.check_model(made, full_check=True)
    return made


def export_onnx(model: Model, path: str | Path) -> None:
    """Write `to_onnx` of ``model`` to ``path``, atomically."""
    write_atomically(user_path(path), to_onnx(model).SerializeToString())


def _weights(model: Model, layout: Plan) -> dict[str, np.ndarray]:
    arrays = model.parameters | model.state
    return {
        tensor.key: tensor.to_torch(arrays[tensor.name].astype(np.float32))
        for tensor in tensors(model.network, layout)
    }


def _by_channel(value: float | tuple[float, ...]) -> np.ndarray:
    """One number, or one for each channel of images with the channels first."""
    array = np.asarray(value, np.float32)
    return array.reshape(-1, 1, 1) if array.ndim else array


class _Graph:
    """The nodes made so far. A layer's path names its nodes, its weights and its output."""

    def __init__(self, onnx: Any, layout: Plan, weights: dict[str, np.ndarray]) -> None:
        self._onnx = onnx
        self._layout = layout
        self._weights = weights
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def node(
        self, kind: str, inputs: list[str], name: str, output: str | None = None, **settings: Any
    ) -> str:
        """Add one node; the name of its output."""
        output = f"{name}/{kind}" if output is None else output
        made = self._onnx.helper.make_node(kind, inputs, [output], f"{name}/{kind}", **settings)
        self.nodes.append(made)
        return output

    def add(self, layer: Layer, path: str, x: str) -> str:
        """Add the nodes of ``layer`` on ``x``, channels first; the name of the output."""
        match layer:
            case Sequential():
                for name, part in layer.named_layers():
                    x = self.add(part, inside(path, name), x)
                return x
            case Residual():
                body = self.add(layer.body, inside(path, "body"), x)
                if layer.shortcut is not None:
                    x = self.add(layer.shortcut, inside(path, "shortcut"), x)
                return self.node("Add", [body, x], path)
            case Dropout():
                return x
            case Rescale():
                return self._rescale(layer, path, x)
            case Conv2d():
                return self._convolution(layer, path, x)
            case Dense():
                names = ["weight", "bias"] if layer.bias else ["weight"]
                return self.node("Gemm", [x, *self._stored(path, names)], path, transB=1)
            case BatchNorm2d():
                names = ["weight", "bias", "running_mean", "running_var"]
                inputs = [x, *self._stored(path, names)]
                return self.node("BatchNormalization", inputs, path, epsilon=layer.epsilon)
            case MaxPool2d() | AvgPool2d():
                kind = "MaxPool" if isinstance(layer, MaxPool2d) else "AveragePool"
                height, width, _ = self._layout.input_shapes[path]
                window = layer.window(height, width)
                return self.node(
                    kind, [x], path, kernel_shape=window.kernel_size, strides=window.stride
                )
            case GlobalAvgPool2d():
                return self.node(
                    "Flatten", [self.node("GlobalAveragePool", [x], path)], path, axis=1
                )
            case Flatten():
                if path in self._layout.ordered:
                    x = self.node("Transpose", [x], path, perm=[0, 2, 3, 1])
                return self.node("Flatten", [x], path, axis=1)
            case ReLU():
                return self.node("Relu", [x], path)
            case Softmax():
                return self.node("Softmax", [x], path, axis=1)
        raise NotImplementedError(layer)  # a new layer of this library; the tests ask for all

    def _rescale(self, layer: Rescale, path: str, x: str) -> str:
        numbers = self.node("Cast", [x], path, to=self._onnx.TensorProto.FLOAT)
        largest = self._constant(f"{path}.largest", np.float32(255.0))
        shift = self._constant(f"{path}.shift", _by_channel(layer.mean))
        y = self.node("Sub", [self.node("Div", [numbers, largest], path), shift], path)
        if layer.std == 1.0:
            return y
        scale = self._constant(f"{path}.scale", _by_channel(layer.std))
        return self.node("Div", [y, scale], f"{path}/scale")

    def _convolution(self, layer: Conv2d, path: str, x: str) -> str:
        height, width, _ = self._layout.input_shapes[path]
        window = layer.window(height, width)
        top, bottom, left, right = window.padding
        names = ["weight", "bias"] if layer.bias else ["weight"]
        return self.node(
            "Conv",
            [x, *self._stored(path, names)],
            path,
            kernel_shape=window.kernel_size,
            strides=window.stride,
            pads=[top, left, bottom, right],
        )

    def _stored(self, path: str, names: list[str]) -> list[str]:
        keys = [inside(path, name) for name in names]
        return [self._constant(key, self._weights[key]) for key in keys]

    def _constant(self, name: str, value: np.ndarray | np.float32) -> str:
        self.initializers.append(self._onnx.numpy_helper.from_array(np.asarray(value), name))
        return name
