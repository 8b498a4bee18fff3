"""What a layer says of itself to the exporters of weights: its PyTorch module.

An optional method of a layer, this library's or a user's::

    def torch_module(self, input_shape: Shape) -> TorchModule

It is written channels first: images are (N, C, H, W) there, all else has the axes it has here.
``input_shape`` is as in `Layer.init`, (H, W, C) for images. A class that inherits it may compute
something else than it says, so only a class's own method counts. ``any_order = True`` on the class
says that a layer does the same to its numbers in whatever order they come, as an activation does:
after a `Flatten`, exporters may then leave them in the order C, H, W. ``training_only = True`` says
that it hands on its input in inference, whatever a class that derives from it does in training.

ONNX needs none of this: what a layer computes is rendered as it is traced (`arraycnn.export.onnx`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arraycnn.layers.layer import Shape


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


def names_its_module(layer: Any) -> bool:
    """Whether the very class of ``layer`` has a ``torch_module``, or it is there in training only."""
    own = "torch_module" in vars(type(layer)) or getattr(layer, "training_only", False)
    return own and hasattr(layer, "torch_module")


def torch_module(layer: Any, input_shape: Shape) -> TorchModule:
    """The PyTorch module of ``layer``; without an expression where it names none."""
    return layer.torch_module(input_shape) if names_its_module(layer) else TorchModule("")
