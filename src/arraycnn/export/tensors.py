"""Parameters and state as PyTorch names and orders them.

Keys are paths, the same as here: "1.weight", "4.body.0.bias". Names and axes are those of each
layer's `TorchModule`: batch norm's state is called "running_mean" and "running_var", convolutions are
(F, C, KH, KW). Dense weights are (outputs, inputs), their inputs in the order C, H, W where they are
a flattened image.
"""

from dataclasses import dataclass

import numpy as np

from arraycnn.export.channels_first import Plan, inside
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.branches import is_of_branches
from arraycnn.layers.export_forms import torch_module
from arraycnn.layers.layer import Shape
from arraycnn.layers.undrawn import Undrawn
from arraycnn.tree import flatten


@dataclass(frozen=True)
class Tensor:
    """One array of the network in both orders.

    Attributes
    ----------
    name, shape : str, shape
        Here: its path in `Model.parameters` or `Model.state`.
    key, torch_shape : str, shape
        In PyTorch.
    axes : tuple of int
        The order PyTorch has the axes in, once ``shape`` is laid open as ``split``.
    learned : bool
        Whether it is a parameter, not state.
    """

    name: str
    shape: Shape
    key: str
    torch_shape: Shape
    split: Shape
    axes: tuple[int, ...]
    learned: bool = True

    @property
    def layer(self) -> str:
        """The path of the layer that it is of."""
        return self.key.rpartition(".")[0]

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """``array`` as PyTorch has it, contiguous."""
        moved = array.reshape(self.split).transpose(self.axes)
        return np.ascontiguousarray(moved.reshape(self.torch_shape))

    def from_torch(self, array: np.ndarray) -> np.ndarray:
        """The way back."""
        moved = array.reshape([self.split[axis] for axis in self.axes])
        return np.ascontiguousarray(
            moved.transpose([int(axis) for axis in np.argsort(self.axes)]).reshape(self.shape)
        )


def tensors(network: Layer, plan: Plan, path: str = "") -> list[Tensor]:
    """Every array of the layer at ``path``, in the order of its layers."""
    if type(network) is Sequential or is_of_branches(network):
        parts = network.named_layers()
        return [t for name, part in parts for t in tensors(part, plan, inside(path, name))]
    input_shape = plan.input_shapes[path]
    module = torch_module(network, input_shape)
    params, state, _ = network.init(Undrawn(), input_shape)
    image = plan.flattened.get(path)
    found = []
    for kind, tree in (("params", params), ("state", state)):
        for name, leaf in flatten(tree).items():
            axes = module.axes.get(name, tuple(range(leaf.ndim)))
            torch_shape = tuple(leaf.shape[axis] for axis in axes)
            split = leaf.shape
            if image is not None and name == "weight":
                split, axes = (*image, leaf.shape[1]), (3, 2, 0, 1)
            place, key = inside(path, name), inside(path, module.names.get(name, name))
            found.append(Tensor(place, leaf.shape, key, torch_shape, split, axes, kind == "params"))
    return found
