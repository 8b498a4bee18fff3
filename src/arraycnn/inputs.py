"""Checks of what a user hands to `Model`, made once, on the host, before any work begins."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arraycnn.backends.backend import Backend
from arraycnn.backends.numpy import NumPy
from arraycnn.data.image_source import ImageSource, MappedImages, as_source
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import Layer, Sequential, Softmax
from arraycnn.layers.layer import with_n
from arraycnn.ops import Array, array_namespace


@np.errstate(over="ignore")  # what is too large for the dtype becomes infinite, and is refused
def place_images(
    images: Any, input_shape: tuple[int, int, int], backend: Backend, dtype: str
) -> Array:
    """``images`` on the backend as (N, H, W, C), uint8 or ``dtype``.

    (N, H, W) is taken as one channel; floating images are converted to ``dtype``. An `ImageSource`,
    a memory-mapped array, and one that does not fit on the device are checked and stay where they
    are, as a source.

    Raises
    ------
    InvalidTypeError
        Not an array, or neither uint8 nor floating.
    InvalidValueError
        No images, another size than the network's, NaN or infinity.
    """
    if isinstance(images, list | tuple):
        images = _from_list("images", images)
    images = as_source(images)
    if isinstance(images, np.ndarray) and images.ndim in (3, 4) and not backend.fits(images.nbytes):
        images = MappedImages(images)
    if isinstance(images, ImageSource):
        return _checked_source(images, input_shape)
    if isinstance(images, np.ndarray) and images.dtype != np.uint8:
        # On the host: no other library has every dtype of NumPy.
        if images.dtype.kind != "f":
            raise _wrong_dtype(images.dtype)
        images = images.astype(dtype, copy=False)
    x = backend.asarray(images)
    xp = array_namespace(x)
    shape = tuple(x.shape)
    if len(shape) == 3 and input_shape[2] == 1:
        shape = (*shape, 1)
    if len(shape) != 4 or shape[1:] != input_shape:
        raise _wrong_shape(tuple(x.shape), input_shape)
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
        raise _wrong_dtype(x.dtype)
    x = xp.astype(x, getattr(xp, dtype), copy=False)
    if not bool(xp.all(xp.isfinite(x))):
        message = "images: must be finite, got NaN or infinity; remove or repair those images"
        raise InvalidValueError(message)
    return x


def check_labels(labels: Any, count: int, classes: int, backend: Backend) -> np.ndarray:
    """``labels``, NumPy's or on the backend's device, as (count,) int32 on the host.

    Raises
    ------
    InvalidTypeError
        Not integers.
    InvalidValueError
        Not one axis, not as many as images, or out of range.
    """
    if isinstance(labels, list | tuple):
        labels = _from_list("labels", labels)
    elif hasattr(labels, "__dlpack__") and not isinstance(labels, np.ndarray):
        labels = backend.to_numpy(backend.asarray(labels))
    y = np.asarray(labels)
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


def check_batch(
    batch: Any, input_shape: tuple[int, int, int], classes: int, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """One (images, labels) of an iterable, on the host, checked as whole sets are.

    Raises as these do, and InvalidTypeError where ``batch`` is no pair.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        message = f"batches: every batch must be (images, labels), got {type(batch).__name__}"
        raise InvalidTypeError(message)
    images = place_images(batch[0], input_shape, NumPy(), dtype)
    return images, check_labels(batch[1], images.shape[0], classes, NumPy())


def check_optimizer(optimizer: Any) -> Any:
    """``optimizer``, or InvalidTypeError where it is none."""
    if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
        message = f"optimizer: must be an optimizer such as SGD(0.05), got {optimizer!r}"
        raise InvalidTypeError(message)
    return optimizer


def check_validation(validation: Any) -> tuple[Any, Any]:
    """``validation`` as (images, labels)."""
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        length = f" of length {len(validation)}" if hasattr(validation, "__len__") else ""
        message = (
            f"validation: must be (images, labels), got {type(validation).__name__}{length}; "
            "write validation=(images, labels)"
        )
        raise InvalidTypeError(message)
    return validation[0], validation[1]


def check_same_dtype(images: Array, held_out: Array) -> None:
    """Refuse validation images that the network would refuse only after the first epoch."""
    # By name: a source on the host is NumPy's, an array may be another library's.
    if str(images.dtype).rpartition(".")[2] != str(held_out.dtype).rpartition(".")[2]:
        message = (
            f"validation: images must be {images.dtype} as the training images are, "
            f"got {held_out.dtype}; prepare both in the same way"
        )
        raise InvalidTypeError(message)


def check_input_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """``shape`` as (H, W, C); (H, W) is one channel."""
    sizes = tuple(shape) if isinstance(shape, list | tuple) else ()
    if len(sizes) == 2:
        sizes = (*sizes, 1)
    if len(sizes) != 3 or not all(type(size) is int and size >= 1 for size in sizes):
        message = f"Model: input_shape must be (H, W, C), ints of at least 1, got {shape!r}"
        raise InvalidValueError(message)
    return sizes[0], sizes[1], sizes[2]


def check_seed(seed: int) -> int:
    """``seed``, an int of 0 to 2^64 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        message = f"Model: seed must be an int, got {seed!r}"
        raise InvalidTypeError(message)
    if not 0 <= seed < 2**64:
        message = f"Model: seed must be at least 0 and below 2^64, got {seed}"
        raise InvalidValueError(message)
    return seed


def check_output(network: Layer, output_shape: tuple[int, ...]) -> int:
    """The number of classes of a network that gives ``output_shape``, a logit for each."""
    last = network
    while isinstance(last, Sequential):
        last = last.layers[-1]
    name = type(last).__name__
    if isinstance(last, Softmax):
        message = (
            f"Model: the network must end with logits, got {name} as its last layer; leave it out: "
            "training applies the softmax within the loss, predict returns probabilities"
        )
        raise InvalidValueError(message)
    if len(output_shape) != 1:
        message = (
            f"Model: the network must give one number a class, (N, classes), got {name} "
            f"with output {with_n(output_shape)}; end with Flatten() and Dense(classes)"
        )
        raise InvalidValueError(message)
    return output_shape[0]


def check_class_names(names: Sequence[str] | None, classes: int) -> tuple[str, ...] | None:
    """``names`` as a tuple of one text for each class, or None."""
    if names is None:
        return None
    fits = isinstance(names, list | tuple) and len(names) == classes
    if not fits or not all(isinstance(name, str) for name in names):
        message = f"Model: class_names must be {classes} texts, one for each output, got {names!r}"
        raise InvalidValueError(message)
    return tuple(names)


def _checked_source(source: ImageSource, input_shape: tuple[int, int, int]) -> ImageSource:
    """``source``; whether floating images are finite shows in the loss of their step."""
    if len(source.shape) != 4 or source.shape[1:] != input_shape or source.shape[0] == 0:
        raise _wrong_shape(source.shape, input_shape)
    if source.dtype != np.uint8 and source.dtype.kind != "f":
        raise _wrong_dtype(source.dtype)
    return source


def _wrong_shape(shape: tuple[int, ...], input_shape: tuple[int, int, int]) -> InvalidValueError:
    height, width, channels = input_shape
    return InvalidValueError(
        f"images: must be (N, {height}, {width}, {channels}), as the network was made for, "
        f"got shape {shape}; resize them, or make the model with another input_shape"
    )


def _from_list(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        message = f"{name}: must make one array, got a list with parts of different sizes"
        raise InvalidValueError(message) from error


def _wrong_dtype(dtype: Any) -> InvalidTypeError:
    return InvalidTypeError(
        f"images: must be uint8 or floating, got {dtype}; "
        "convert them, for example images.astype('uint8')"
    )
