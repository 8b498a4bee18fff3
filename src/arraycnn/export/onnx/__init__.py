"""ONNX: the trained network as one graph, from pixels to predictions.

Input and output are those of `Model.predict`: "images" is (N, H, W, C), uint8 where the network
has a `Rescale`, else float32; "probabilities" is (N, classes) float32, where the loss is of
no classes "outputs" instead, (N, ...). N is free.

What is rendered is the program of an inference step (`arraycnn.program`), so that a layer, a user's
too, is exported as it is written:

| file | |
| --- | --- |
| `heads.py` | what is traced as one node: the kernels that ONNX has an operation for |
| `batch.py` | a program for any number of images |
| `patterns.py`, `joined.py`, `resizes.py`, `norms.py` | what else is one operation in ONNX |
| `layouts.py` | where images lie channels first |
| `render.py` | node by node |
| `pointwise.py`, `reductions.py`, `moves.py`, `updates.py`, `windows.py` | the rules for that |
| `graph.py` | the graph as it grows |
"""

import json
import logging
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.export.onnx.batch import of_any_batch
from arraycnn.export.onnx.graph import IMAGES, Graph
from arraycnn.export.onnx.heads import ONNX_HEADS
from arraycnn.export.onnx.moves import MOVE_RULES
from arraycnn.export.onnx.norms import NORM_RULES
from arraycnn.export.onnx.patterns import with_patterns
from arraycnn.export.onnx.pointwise import POINTWISE_RULES
from arraycnn.export.onnx.reductions import REDUCTION_RULES
from arraycnn.export.onnx.render import Renderer
from arraycnn.export.onnx.updates import UPDATE_RULES
from arraycnn.export.onnx.windows import WINDOW_RULES
from arraycnn.losses import ClassificationLoss, MultiLabelLoss
from arraycnn.model.model import Model
from arraycnn.optional_packages import import_extra
from arraycnn.program.compose import image_dtype
from arraycnn.program.nodes import Program
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.screening import screened_inference
from arraycnn.program.steps import Form, inference_program, named, opaque_layers
from arraycnn.storage.atomic_writes import write_atomically
from arraycnn.storage.user_paths import user_path
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves

# Old enough for the runtimes in use, new enough for all it takes.
_OPSET, _IR_VERSION = 17, 8
_DTYPE = "float32"
_RULES = {**POINTWISE_RULES, **REDUCTION_RULES, **NORM_RULES}
_RULES |= {**MOVE_RULES, **UPDATE_RULES, **WINDOW_RULES}
_log = logging.getLogger("arraycnn")


def to_onnx(model: Model) -> Any:
    """``model`` as an ``onnx.ModelProto`` that passes onnx's full check.

    Weights are float32; those of a float64 model are rounded, with a logged line. The names of the
    classes are in the metadata as JSON, under "class_names".

    Raises
    ------
    InvalidTypeError
        A layer, a user's own, cannot be traced, or computes what ONNX has no operation for.
    InvalidValueError
        What a layer does hangs on how many images there are.
    MissingPackageError
        onnx, of the extra ``onnx``, is not installed.
    """
    onnx = import_extra("onnx", "export onnx", "onnx")
    helper = onnx.helper
    if model.dtype != _DTYPE:
        _log.warning("export onnx: %s weights rounded to %s", model.dtype, _DTYPE)

    def rounded(leaf: Any) -> np.ndarray:
        return np.asarray(model.backend.to_numpy(leaf), _DTYPE)

    params, state = (map_leaves(rounded, tree) for tree in model.trees)
    program = _program(model, params, state)
    is_of_classes = isinstance(model.loss, ClassificationLoss | MultiLabelLoss)
    result = "probabilities" if is_of_classes else "outputs"
    graph = Graph(onnx, (IMAGES, result))
    images = program.inputs[IMAGES]
    graph.give(IMAGES, images.shape)
    values = named(Carry(params, state, {}))
    rendered = Renderer(graph, program, values, _RULES, result).render(program, "probabilities")
    nodes, arrays = graph.finish(rendered, result)
    predicted = program.outputs["probabilities"]
    ends = [
        helper.make_tensor_value_info(name, graph.kind_of(node.dtype), ["N", *node.shape[1:]])
        for name, node in ((IMAGES, images), (result, predicted))
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "arraycnn", ends[:1], ends[1:], arrays),
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


def _program(model: Model, params: Any, state: Any) -> Program:
    """What `Model.predict` computes, of any number of images."""
    network, dtype = model.network, image_dtype(model.network, _DTYPE)
    kind = model.input_shape, dtype == "uint8", _DTYPE
    screened = screened_inference(network, params, state, *kind)
    causes = [*(layer.cause for layer in opaque_layers(screened.network)), screened.cause]
    for cause in causes:
        if cause is not None:
            remedy = "compute with functions of arrays, the same each time"
            said = cause if ";" in cause else f"{cause}; {remedy}"
            message = f"export onnx: a graph holds what can be traced: {said}"
            raise InvalidTypeError(message)

    def traced(batch_size: int) -> Program:
        images = Form((batch_size, *model.input_shape), dtype)
        given = network, params, state, images, _DTYPE, model.loss
        return inference_program(*given, ops=ONNX_HEADS)

    program = with_patterns(simplified(of_any_batch(traced)))
    predicted = program.outputs["probabilities"]
    if predicted.shape[:1] != (-1,):
        message = (
            "export onnx: the loss must predict something for each image, got shape "
            f"{predicted.shape}; keep the first axis of the outputs"
        )
        raise InvalidValueError(message)
    return program
