"""Checks of what a user hands to `Model`, made once, on the host, before any work begins."""

from typing import Any

import numpy as np

from arraycnn.backends.backend import Backend
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import Array, array_namespace


def place_images(
    images: Any, input_shape: tuple[int, int, int], backend: Backend, dtype: str
) -> Array:
    """``images`` on the backend as (N, H, W, C), uint8 or ``dtype``.

    (N, H, W) is taken as one channel; floating images are converted to ``dtype``.

    Raises
    ------
    InvalidTypeError
        Not an array, or neither uint8 nor floating.
    InvalidValueError
        No images, another size than the network's, NaN or infinity.
    """
    x = backend.asarray(np.asarray(images) if isinstance(images, list | tuple) else images)
    xp = array_namespace(x)
    shape = tuple(x.shape)
    if len(shape) == 3 and input_shape[2] == 1:
        shape = (*shape, 1)
    if len(shape) != 4 or shape[1:] != input_shape:
        height, width, channels = input_shape
        message = (
            f"images: must be (N, {height}, {width}, {channels}), as the network was made for, "
            f"got shape {tuple(x.shape)}; resize them, or make the model with another input_shape"
        )
        raise InvalidValueError(message)
    if shape[0] == 0:
        message = (
            "images: must hold at least one image, got an empty set; check how it was selected"
        )
        raise InvalidValueError(message)
    if shape != tuple(x.shape):
        x = xp.reshape(x, shape)
    if x.dtype == xp.uint8:
        return x
    if not xp.isdtype(x.dtype, "real floating"):
        message = (
            f"images: must be uint8 or floating, got {x.dtype}; "
            "convert them, for example images.astype('uint8')"
        )
        raise InvalidTypeError(message)
    x = xp.astype(x, getattr(xp, dtype), copy=False)
    if not bool(xp.all(xp.isfinite(x))):
        message = "images: must be finite, got NaN or infinity; remove or repair those images"
        raise InvalidValueError(message)
    return x


def check_labels(labels: Any, count: int, classes: int) -> np.ndarray:
    """``labels`` as (count,) int32 on the host, every one in [0, classes).

    Raises
    ------
    InvalidTypeError
        Not integers.
    InvalidValueError
        Not one axis, not as many as images, or out of range.
    """
    y = np.asarray(
        labels
        if hasattr(labels, "__array__") or isinstance(labels, list | tuple)
        else np.from_dlpack(labels)
    )
    if y.ndim != 1:
        message = (
            f"labels: must have 1 axis (N,), got shape {y.shape}; "
            "for one-hot labels pass labels.argmax(axis=1)"
        )
        raise InvalidValueError(message)
    if y.dtype.kind not in "iu":
        message = (
            f"labels: must be integers, got {y.dtype}; convert them with labels.astype('int32')"
        )
        raise InvalidTypeError(message)
    if y.shape[0] != count:
        message = f"labels: must be as many as images, got {y.shape[0]} labels for {count} images"
        raise InvalidValueError(message)
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        place = int(wrong.argmax())
        message = (
            f"labels: must be 0 to {classes - 1}, the network has {classes} outputs, "
            f"got {y[place]} at position {place}; "
            "renumber them, or give the last layer more outputs"
        )
        raise InvalidValueError(message)
    return y.astype(np.int32)


def check_count(name: str, value: int) -> int:
    """``value`` as an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        message = f"{name}: must be an int, got {value!r}"
        raise InvalidTypeError(message)
    if value < 1:
        message = f"{name}: must be at least 1, got {value}"
        raise InvalidValueError(message)
    return int(value)
