"""Augmentation: what layers that change images while training have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.layer import (
    Context,
    Shape,
    Tree,
    check_axes,
    check_floating,
    check_image_shape,
)
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.generic import dropout_threshold
from arraycnn.setting_checks import check_number

Fill = float | str

_LONGEST = 2**15 - 128
"""Rows or columns: numbers up to them are drawn, and moved some pixels, in whole numbers of 32 bits."""


@dataclass(frozen=True)
class Augmentation(ABC):
    """Each image is changed by random bits of its own while training; in inference nothing happens.

    It takes uint8 images, so it may stand before `Rescale`, or floating ones; their shape stays.
    """

    training_only: ClassVar[bool] = True
    moves_pixels: ClassVar[bool] = False
    """Whether pixels come to lie elsewhere: then labels that are images would not fit any more."""

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        check_image_shape(type(self).__name__, input_shape)
        self.words(input_shape)
        return {}, {}, input_shape

    @abstractmethod
    def words(self, input_shape: Shape) -> int:
        """How many random words an image of (H, W, C) needs.

        Raises InvalidValueError where the images do not fit the layer.
        """

    def check_use(self, on_bytes: bool) -> None:  # noqa: B027 - most refuse nothing
        """Refuse settings with which a training cannot begin, on uint8 images or others.

        Not refused where a layer is made: files of earlier versions hold such layers. Raises
        InvalidValueError.
        """

    @abstractmethod
    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        """(``x`` changed by ``words``, (N, words) int32; residuals)."""

    def augmented_in(self, context: Context, x: Array, words: Array) -> tuple[Array, Any]:
        """`augmented`, in a step of which ``context`` tells: for layers that take images together."""
        return self.augmented(x, words)

    @abstractmethod
    def gradient(self, residuals: Any, dy: Array) -> Array:
        """dx of `augmented`."""

    def gradient_in(self, context: Context, residuals: Any, dy: Array) -> Array:
        """`gradient`, in a step of which ``context`` tells: for layers that need its operations."""
        return self.gradient(residuals, dy)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        check_axes(type(self).__name__, x)
        if not is_bytes(x):
            check_floating(type(self).__name__, x)
        if context.mode == "infer":
            return x, state, ()
        words = context.random_bits(self.words(tuple(x.shape[1:])))
        y, residuals = self.augmented_in(context, x, words)
        return y, state, residuals

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        if not need_dx:
            return None, {}
        if context.mode == "infer":
            return dy, {}
        return self.gradient_in(context, residuals, dy), {}

    def torch_module(self, input_shape: Shape) -> TorchModule:
        return TorchModule("nn.Identity()")


def for_each(word: Array) -> Array:
    """(N,) as (N, 1, 1, 1), beside images."""
    return array_namespace(word).reshape(word, (-1, 1, 1, 1))


def happens(word: Array, probability: float) -> Array:
    """Whether something of a probability happens to each image, bool, (N,)."""
    return word >= dropout_threshold(1.0 - probability)


def is_bytes(x: Array) -> bool:
    return bool(x.dtype == array_namespace(x).uint8)


def as_bytes(numbers: Array) -> Array:
    """Whole numbers as uint8, cut to 0 and 255."""
    xp = array_namespace(numbers)
    return xp.astype(xp.minimum(xp.maximum(numbers, 0), 255), xp.uint8)


def check_probability(owner: str, probability: float) -> None:
    """Refuse what is no probability above 0."""
    check_number(f"{owner}: probability", probability)
    if not 0.0 < probability <= 1.0:
        message = f"{owner}: probability must be above 0 and at most 1, got {probability!r}"
        raise InvalidValueError(message)


def check_strength(owner: str, strength: float, most: float = 1.0) -> None:
    """Refuse what is not above 0 and at most ``most``."""
    check_number(f"{owner}: strength", strength)
    if not 0.0 < strength <= most:
        message = f"{owner}: strength must be above 0 and at most {most:g}, got {strength!r}"
        raise InvalidValueError(message)


def check_effect(
    owner: str, strength: float, parts: int, fewest: int = 1, images: str = "images"
) -> None:
    """Refuse a strength that comes to fewer than ``fewest`` of so many ``parts`` of 1.

    Raises InvalidValueError, which says at least how much it must be.
    """
    if round(parts * strength) < fewest:
        least = (math.floor(1e6 * (fewest - 0.5) / parts) + 1) / 1e6  # the next of six digits
        message = (
            f"{owner}: strength must be at least {least}, or {images} would stay as they are, got "
            f"{strength!r}"
        )
        raise InvalidValueError(message)


def check_range(owner: str, name: str, ends: tuple[float, float]) -> tuple[float, float]:
    """``ends``, or an error where they are not (least, largest), both finite."""
    if not isinstance(ends, tuple) or len(ends) != 2:
        message = f"{owner}: {name} must be (least, largest), got {ends!r}"
        raise InvalidTypeError(message)
    for end in ends:
        check_number(f"{owner}: {name}", end)
    if not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] <= ends[1]):
        message = f"{owner}: {name} must be (least, largest), got {ends!r}"
        raise InvalidValueError(message)
    return ends


def check_sides(owner: str, input_shape: Shape) -> None:
    """Refuse images with a side that places cannot be drawn from (`random_bits.whole_numbers`)."""
    height, width = input_shape[:2]
    if max(height, width) > _LONGEST:
        message = (
            f"{owner}: images must have at most {_LONGEST} rows and columns, got {height} x {width}"
        )
        raise InvalidValueError(message)


def check_fill(owner: str, fill: Any, *words: str) -> None:
    """Refuse a fill that is neither a finite number nor one of ``words``."""
    if not isinstance(fill, str) or not words:
        check_number(f"{owner}: fill", fill)
    if fill in words or (not isinstance(fill, str) and math.isfinite(fill)):
        return
    choices = "".join(f' or "{word}"' for word in words)
    message = f"{owner}: fill must be a finite number{choices}, got {fill!r}"
    raise InvalidValueError(message)


def number_of(owner: str, fill: float, x: Array) -> float:
    """``fill`` as a number of ``x``: a whole one beside bytes."""
    return byte_of(owner, fill) if is_bytes(x) else float(fill)


def byte_of(owner: str, fill: float) -> int:
    """``fill`` as a pixel of uint8 images, or InvalidValueError."""
    if fill != int(fill) or not 0 <= fill <= 255:
        message = (
            f"{owner}: fill must be a whole number from 0 to 255 for uint8 images, got {fill!r}; "
            "take a grey value, as other numbers are for images behind Rescale"
        )
        raise InvalidValueError(message)
    return int(fill)
