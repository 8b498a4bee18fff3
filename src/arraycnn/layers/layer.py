"""What a layer is: three pure functions and a frozen record of hyper-parameters.

A layer is a frozen dataclass. It holds no arrays: parameters and state come in and go out, so one
layer object may stand in many networks, and a whole training step can be compiled or recorded.

Rules inside ``forward`` and ``backward``: never read a value (no ``float(x)``, no ``if x:``, no
boolean mask); residuals are arrays only; nothing is changed in place but through
`arraycnn.ops.arrays.at`. `xp` is always ``array_namespace(x)`` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.ops.random_bits import layer_key
from arraycnn.ops.whole_batch import WholeBatch
from arraycnn.tree import Tree, flatten, leaves

Mode: TypeAlias = Literal["train", "infer"]
Shape: TypeAlias = tuple[int, ...]
"""A shape without N, the number of images."""


@dataclass(frozen=True)
class Randomness:
    """The array part of a context: which random bits this step draws.

    Attributes
    ----------
    seed : array, (2,), int32
    step : array, (1,), int32
    indices : array, (N,), int32
        Positions of the batch's images in the data set.
    """

    seed: Array
    step: Array
    indices: Array


@dataclass(frozen=True)
class Context:
    """What a layer is told about the step it runs in.

    Attributes
    ----------
    ops : Kernels
        The kernels to compute with.
    mode : "train" or "infer"
    dtype : str
        The floating dtype of parameters and activations, "float32" or "float64".
    randomness : Randomness or None
        Needed in "train" by layers that draw random bits.
    path : tuple of str
        Where in the network the layer stands; combinators extend it.
    frozen : frozenset of str
        The paths of the network's parameters that this training leaves as they are.
    whole : WholeBatch or None
        In training on several processes: what to sum over, where a layer computes with its batch as a
        whole. None where the step's images are all of it.
    """

    ops: Kernels
    mode: Mode
    dtype: str = "float32"
    randomness: Randomness | None = None
    path: tuple[str, ...] = ()
    frozen: frozenset[str] = frozenset()
    whole: WholeBatch | None = None

    def inside(self, name: str) -> Context:
        """The context for the part ``name`` of the present layer."""
        path = (*self.path, name)
        known = self.dtype, self.randomness, path, self.frozen, self.whole
        return Context(self.ops, self.mode, *known)

    def trains(self, params: Tree) -> bool:
        """Whether some of ``params``, those of the present layer, are trained and not frozen."""
        if not self.frozen:
            return bool(leaves(params))
        return any(".".join((*self.path, name)) not in self.frozen for name in flatten(params))

    def random_bits(self, count: int) -> Array:
        """``count`` int32 words for each image, (N, count); no two layers or steps share them."""
        random = self.drawing()
        return self.ops.random_bits(
            random.seed, random.step, layer_key(self.path), random.indices, count
        )

    def drawing(self) -> Randomness:
        """What the step's random bits are drawn from; InvalidValueError where there is nothing."""
        if self.randomness is None:
            message = (
                "random_bits: a layer that draws random bits needs the context's randomness, "
                "got none; pass Randomness(seed, step, indices)"
            )
            raise InvalidValueError(message)
        return self.randomness


class Layer(Protocol):
    """The protocol of a layer; N, the number of images, is never part of a declared shape."""

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        """Draw parameters and state as float64 NumPy arrays: (params, state, output_shape).

        Raises InvalidValueError where ``input_shape`` (without N) does not fit the layer.
        """

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        """(y, new state, residuals): what `backward` will need, a nest of arrays only."""

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        """(gradient for x, or None unless ``need_dx``; gradients by the keys of params)."""


def check_image_shape(owner: str, input_shape: Shape) -> tuple[int, int, int]:
    """``input_shape`` as (H, W, C), or InvalidValueError."""
    if len(input_shape) != 3:
        message = (
            f"{owner}: input must have 4 axes (N, H, W, C), got {with_n(input_shape)}; "
            "put it before Flatten and Dense"
        )
        raise InvalidValueError(message)
    height, width, channels = input_shape
    return height, width, channels


def check_axes(owner: str, x: Array) -> None:
    """Refuse an ``x`` that is not (N, H, W, C)."""
    if len(x.shape) != 4:
        message = (
            f"{owner}: input must have 4 axes (N, H, W, C), got shape {tuple(x.shape)}; "
            "add the missing axes with reshape"
        )
        raise InvalidValueError(message)


def check_images(owner: str, x: Array, channels: int | None = None) -> None:
    """Refuse an ``x`` that is not (N, H, W, C), or has not as many channels as the parameters."""
    check_axes(owner, x)
    if channels is not None and x.shape[3] != channels:
        message = (
            f"{owner}: input must have {channels} channels in its last axis, "
            f"got shape {tuple(x.shape)}; images are (N, H, W, C), channels last"
        )
        raise InvalidValueError(message)
    check_floating(owner, x)


def check_floating(owner: str, x: Array) -> None:
    """Refuse an ``x`` whose dtype is not a real floating one."""
    if not array_namespace(x).isdtype(x.dtype, "real floating"):
        message = (
            f"{owner}: input must be float32 or float64, got {x.dtype}; "
            "begin the network with Rescale() for uint8 images, or pass them as floating numbers, "
            "scaled as for its training"
        )
        raise InvalidTypeError(message)


def check_layer(owner: str, name: str, value: Layer) -> None:
    """Refuse a part of a network that is not a layer object."""
    if isinstance(value, type) or not hasattr(value, "forward"):
        message = (
            f"{owner}: {name} must be a layer object, got {value!r}; "
            "write for example ReLU(), with parentheses"
        )
        raise InvalidTypeError(message)


def glorot_uniform(rng: np.random.Generator, shape: Shape, inputs: int, outputs: int) -> np.ndarray:
    """U(-a, a) with a = sqrt(6 / (inputs + outputs)): Glorot and Bengio, 2010, equation 16."""
    limit = np.sqrt(6.0 / (inputs + outputs))
    return rng.uniform(-limit, limit, shape)


def written_in_short(layer: Any, settled: tuple[str, ...]) -> str:
    """``layer`` as a dataclass is written, without the fields ``settled`` that have their default."""
    shown = [
        f"{field.name}={getattr(layer, field.name)!r}"
        for field in fields(layer)
        if field.name not in settled or getattr(layer, field.name) != field.default
    ]
    return f"{type(layer).__name__}({', '.join(shown)})"


def with_n(shape: Shape) -> str:
    """``shape`` as users see it, (N, ...)."""
    return "(" + ", ".join(["N", *map(str, shape)]) + ")"


__all__ = [
    "Context",
    "Layer",
    "Mode",
    "Randomness",
    "Shape",
    "Tree",
    "check_axes",
    "check_floating",
    "check_image_shape",
    "check_images",
    "check_layer",
    "glorot_uniform",
    "with_n",
    "written_in_short",
]
