"""ONNX: the trained network as one graph, from pixels to probabilities.

Input and output are those of `Model.predict`: "images" is (N, H, W, C), uint8 where the network
begins with `Rescale`, else float32; "probabilities" is (N, classes) float32, where the loss is of
regression "outputs" instead, (N, ...). N is free. ONNX
computes channels first, so the graph turns the images once, at its entry, and the weights of the
dense layers are stored in that order.
"""

import json
import logging
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError
from arraycnn.export.channels_first import Plan, inside, plan
from arraycnn.export.tensors import tensors
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.branches import is_of_branches
from arraycnn.layers.layer import Shape
from arraycnn.losses import ClassificationLoss, MultiLabelLoss, RegressionLoss
from arraycnn.model.model import Model
from arraycnn.optional_packages import import_extra
from arraycnn.storage.atomic_writes import write_atomically
from arraycnn.storage.user_paths import user_path

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
        A layer, a user's own, has no ``onnx_nodes``.
    MissingPackageError
        onnx, of the extra ``onnx``, is not installed.
    """
    onnx = import_extra("onnx", "export onnx", "onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    layout = plan(model.network, model.input_shape, "onnx_nodes")
    if model.dtype != "float32":
        _log.warning("export onnx: %s weights rounded to float32", model.dtype)
    graph = _Graph(onnx, layout, _weights(model, layout))
    channels_first = graph.node("Transpose", ["images"], "images", perm=[0, 3, 1, 2])
    outputs = graph.add(model.network, "", channels_first)
    name = graph.predict(model, outputs)
    pixel = kinds.UINT8 if layout.takes_pixels else kinds.FLOAT
    images = helper.make_tensor_value_info("images", pixel, ["N", *model.input_shape])
    shape = ["N", *model.output_shape]
    predicted = helper.make_tensor_value_info(name, kinds.FLOAT, shape)
    made = helper.make_model(
        helper.make_graph(graph.nodes, "arraycnn", [images], [predicted], graph.initializers),
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
    """The arrays by their paths here, with the axes that PyTorch gives them."""
    arrays = model.parameters | model.state
    return {
        tensor.name: tensor.to_torch(arrays[tensor.name].astype(np.float32))
        for tensor in tensors(model.network, layout)
    }


class _Graph:
    """The nodes made so far. A layer's path names its nodes, its weights and its output."""

    def __init__(self, onnx: Any, layout: Plan, weights: dict[str, np.ndarray]) -> None:
        self._onnx = onnx
        self._layout = layout
        self._weights = weights
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._made: dict[str, int] = {}
        self._stored: dict[str, tuple] = {}

    def node(
        self, kind: str, inputs: list[str], name: str, output: str | None = None, **settings: Any
    ) -> str:
        """Add one node; the name of its output."""
        label = f"{name}/{kind}"
        self._made[label] = self._made.get(label, 0) + 1
        if self._made[label] > 1:
            label = f"{label}_{self._made[label]}"
        output = label if output is None else output
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], label, **settings))
        return output

    def predict(self, model: Model, outputs: str) -> str:
        """Add what the loss makes of the network's ``outputs``; the name of the result."""
        name = "outputs" if isinstance(model.loss, RegressionLoss) else "probabilities"
        if len(model.output_shape) == 3:
            outputs = self.node("Transpose", [outputs], name, perm=[0, 2, 3, 1])
        if isinstance(model.loss, RegressionLoss):
            return self.node("Identity", [outputs], name, output=name)
        if isinstance(model.loss, MultiLabelLoss):
            return self.node("Sigmoid", [outputs], name, output=name)
        if isinstance(model.loss, ClassificationLoss):
            return self.node(
                "Softmax",
                [outputs],
                name,
                output=name,
                axis=-1 if len(model.output_shape) > 1 else 1,
            )
        message = (
            "export onnx: the loss must be a ClassificationLoss, MultiLabelLoss or RegressionLoss, "
            f"got {type(model.loss).__name__}; derive it from the one whose predictions it has"
        )
        raise InvalidTypeError(message)

    def add(self, layer: Layer, path: str, x: str) -> str:
        """Add the nodes of ``layer`` on ``x``, channels first; the name of the output."""
        if type(layer) is Sequential:
            for name, part in layer.named_layers():
                x = self.add(part, inside(path, name), x)
            return x
        made: Any = layer  # `plan` has seen that it has the method
        graph = _OfLayer(self, path, self._layout.input_shapes[path])
        if is_of_branches(layer):
            outputs = [
                x if part is None else self.add(part, inside(path, name), x)
                for name, part in layer.named_branches()
            ]
            return made.onnx_nodes(graph, *outputs)
        if path in self._layout.ordered:  # a Flatten
            x = self.node("Transpose", [x], path, perm=[0, 2, 3, 1])
        return made.onnx_nodes(graph, x)

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an array, unless it is there; the name it has."""
        content = (value.dtype, value.shape, value.tobytes())
        label, number = name, 1
        while self._stored.setdefault(label, content) != content:
            number += 1
            label = f"{name}_{number}"
        if label not in {tensor.name for tensor in self.initializers}:
            self.initializers.append(self._onnx.numpy_helper.from_array(value, label))
        return label

    def weight(self, name: str, shape: Shape | None) -> str:
        """Add the parameter or state at the path ``name``."""
        value = self._weights[name]
        return self.constant(name, value if shape is None else value.reshape(shape))


@dataclass(frozen=True)
class _OfLayer:
    """The graph as one layer sees it: an `OnnxGraph`."""

    graph: _Graph
    path: str
    input_shape: Shape

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.node(kind, list(inputs), self.path, **attributes)

    def constant(self, name: str, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        return self.graph.constant(inside(self.path, name), array)

    def weight(self, name: str, shape: Shape | None = None) -> str:
        return self.graph.weight(inside(self.path, name), shape)
