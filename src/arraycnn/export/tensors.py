"""Parameters and state as PyTorch names and orders them.

Keys are paths, the same as here: "1.weight", "4.body.0.bias"; batch norm's state is called
"running_mean" and "running_var". Convolutions are (F, C, KH, KW); dense weights are
(outputs, inputs), their inputs in the order C, H, W where they are a flattened image.
"""

import math
from dataclasses import dataclass

import numpy as np

from arraycnn.export.channels_first import Plan, inside
from arraycnn.layers import BatchNorm2d, Conv2d, Dense, Layer, Residual, Sequential
from arraycnn.layers.layer import Shape


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
    if isinstance(network, Sequential):
        parts = network.named_layers()
        return [t for name, part in parts for t in tensors(part, plan, inside(path, name))]
    if isinstance(network, Residual):
        found = tensors(network.body, plan, inside(path, "body"))
        if network.shortcut is not None:
            found += tensors(network.shortcut, plan, inside(path, "shortcut"))
        return found
    params, state, _ = network.init(np.random.default_rng(0), plan.input_shapes[path])
    shapes = {name: leaf.shape for name, leaf in (params | state).items()}
    if isinstance(network, BatchNorm2d):
        names = {"mean": "running_mean", "variance": "running_var"}
        return [
            _same(inside(path, name), inside(path, names.get(name, name)), shape, name in params)
            for name, shape in shapes.items()
        ]
    found = []
    for name, shape in shapes.items():
        place = inside(path, name)
        if name == "bias":
            found.append(_same(place, place, shape))
        elif isinstance(network, Conv2d):
            height, width, channels, filters = shape
            torch_shape = (filters, channels, height, width)
            found.append(Tensor(place, shape, place, torch_shape, shape, (3, 2, 0, 1)))
        elif isinstance(network, Dense):
            found.append(_dense(place, shape, plan.flattened.get(path)))
    return found


def _same(name: str, key: str, shape: Shape, learned: bool = True) -> Tensor:
    return Tensor(name, shape, key, shape, shape, tuple(range(len(shape))), learned)


def _dense(name: str, shape: Shape, image: Shape | None) -> Tensor:
    if image is None:
        return Tensor(name, shape, name, shape[::-1], shape, (1, 0))
    inputs, outputs = math.prod(image), shape[1]
    return Tensor(name, shape, name, (outputs, inputs), (*image, outputs), (3, 2, 0, 1))
