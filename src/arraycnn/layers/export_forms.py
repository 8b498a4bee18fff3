"""What a layer says of itself to the exporters: its ONNX nodes and its PyTorch module.

Two optional methods of a layer, this library's or a user's::

    def onnx_nodes(self, graph: OnnxGraph, x: str) -> str
    def torch_module(self, input_shape: Shape) -> TorchModule

Both are written channels first: images are (N, C, H, W) there, all else has the axes it has here.
``input_shape`` is as in `Layer.init`, (H, W, C) for images. A class that inherits them may compute
something else than they say, so only a class's own methods count. ``any_order = True`` on the class
says that a layer does the same to its numbers in whatever order they come, as an activation does:
after a `Flatten`, exporters may then leave them in the order C, H, W. ``training_only = True`` says
that it hands on its input in inference, whatever a class that derives from it does in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from arraycnn.layers.layer import Shape

TwinMethod = Literal["onnx_nodes", "torch_module"]


@dataclass(frozen=True)
class TorchModule:
    """A layer in PyTorch.

    Attributes
    ----------
    expression : str
        What makes the module, in terms of ``torch``, ``nn`` and ``source``: "nn.ReLU()".
    source : str
        The class that PyTorch lacks, if it does; text of Python.
    names : mapping of str to str
        What the module calls parameters and state that it does not call as they are called here.
    axes : mapping of str to tuple of int
        In which order it has the axes of those that have another one there, as in ``transpose``.
    """

    expression: str
    source: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class OnnxGraph(Protocol):
    """Where a layer adds its nodes; opset 17, all numbers float32.

    Attributes
    ----------
    input_shape : Shape
        What the layer takes, without N; (H, W, C) for images.
    """

    input_shape: Shape

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of ``kind``, such as "Relu"; the name of its one output."""

    def constant(self, name: str, value: Any) -> str:
        """Add numbers, float32, or int64 where they are ints, under a name of the layer's own."""

    def weight(self, name: str, shape: Shape | None = None) -> str:
        """The parameter or state ``name``, with the axes of `TorchModule`; or in another shape."""


def twin_method(layer: Any, name: TwinMethod) -> Callable[..., Any] | None:
    """The method ``name`` of ``layer`` if its very class has it, or it is there in training only."""
    own = name in vars(type(layer)) or getattr(layer, "training_only", False)
    return getattr(layer, name, None) if own else None


def torch_module(layer: Any, input_shape: Shape) -> TorchModule:
    """The PyTorch module of ``layer``; without an expression where it names none."""
    method = twin_method(layer, "torch_module")
    return TorchModule("") if method is None else method(input_shape)


def by_channel(value: float | tuple[float, ...]) -> np.ndarray:
    """One number, or one for each channel of images with the channels first."""
    array = np.asarray(value, np.float32)
    return array.reshape(-1, 1, 1) if array.ndim else array
