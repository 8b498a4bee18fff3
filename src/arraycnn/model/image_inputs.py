"""Images as users hold them, and as a network takes them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.backends.backend import Backend
from arraycnn.data.array_rules import BrokenRule, plain_array
from arraycnn.data.image_source import ArraySource, ImageSource, MappedImages, as_source
from arraycnn.data.pixel_rules import Scale, as_bytes, pixel_scale
from arraycnn.data.shape_rules import shape_for
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import Layer, Rescale
from arraycnn.layers.sequential import first_in_inference
from arraycnn.model.placing import converted, placed
from arraycnn.ops import Array, array_namespace
from arraycnn.training.batch_size import batches

# Of a source, the scale is judged by so many images.
_LOOKED_AT = 64
_log = logging.getLogger("arraycnn")


@dataclass(frozen=True)
class ImageForm:
    """What images a network takes.

    Attributes
    ----------
    shape : (H, W, C)
    dtype : str
        Of floating images.
    takes_bytes : bool
        Whether the network scales the grey values 0 to 255 itself.
    """

    shape: tuple[int, int, int]
    dtype: str
    takes_bytes: bool


def takes_bytes(network: Layer) -> bool:
    """Whether ``network`` begins with `Rescale`; layers before it may be there in training only."""
    return isinstance(first_in_inference(network), Rescale)


class SaidOnce:
    """A notice on the logger, the first one of its kind only; none where there is nothing to say."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, line: str, kind: str = "") -> None:
        if line and (kind or line) not in self._said:
            self._said.add(kind or line)
            _log.warning("%s", line)


@contextmanager
def refused(who: str) -> Iterator[None]:
    """A `BrokenRule` inside this block, as an error about the argument ``who``."""
    try:
        yield
    except BrokenRule as broken:
        kind = InvalidTypeError if broken.of_kind else InvalidValueError
        raise kind(f"{who}: {broken}") from None


class ImageTaker:
    """Brings images into the form that a network takes: the parts of one set, one after the other.

    Grey values that are not uint8 are converted, and all parts have the scale of the first. What
    had to be assumed for that goes to ``say``, once.
    """

    def __init__(self, form: ImageForm, say: Callable[[str], None] = _log.warning) -> None:
        self._form, self._say = form, say
        self._scale: Scale | None = None

    def take(self, images: Any) -> ImageSource:
        """``images`` on the host as (N, H, W, C), uint8 or floating.

        What has to be read, as a memory-mapped array, is left to be read. Raises `BrokenRule`.
        """
        if isinstance(images, np.memmap):
            shape = shape_for(images.shape, self._form.shape)
            alone = images.ndim > 1 and len(images) != shape[0]  # one image without the axis N
            return self._source(MappedImages(images[np.newaxis] if alone else images), shape)
        source = as_source(images)
        if source.resident is None and images is not None:
            return self._source(source, shape_for(source.shape, self._form.shape))
        array = plain_array(source.resident)
        array = self._converted(array) if self._is_to_convert(array.dtype) else array
        return ArraySource(array.reshape(shape_for(array.shape, self._form.shape)))

    def place(self, images: Any, backend: Backend) -> ImageSource:
        """As `take`, but an array lies on the backend, floating ones finite and of the form's dtype.

        One that does not fit there is left to be read.
        """
        taken = self._taken(images, backend)
        held = taken.resident
        if held is None:
            return taken
        if isinstance(held, np.ndarray):
            source = placed(held, self._dtype_of(held), backend)
            if source.resident is None:
                for _, some in batches(source, self._form.shape):
                    _check_finite(some)
                return source
            held = source.resident
        return ArraySource(self._finite(held, backend), backend.to_numpy)

    def array(self, images: Any, backend: Backend) -> Array:
        """As `place`, all of them as one array, whatever they are read from."""
        taken = self._taken(images, backend)
        held = taken.read_part(slice(None)) if taken.resident is None else taken.resident
        return self._finite(held, backend)

    def _taken(self, images: Any, backend: Backend) -> ImageSource:
        if hasattr(images, "__dlpack__") and not isinstance(images, np.ndarray):
            images = backend.asarray(images)
            if not isinstance(images, np.ndarray):
                return ArraySource(self._on_device(images, backend), backend.to_numpy)
        return self.take(images)

    def _finite(self, x: Array, backend: Backend) -> Array:
        """``x``, of the host or the backend, on the backend and in the form's dtype."""
        if isinstance(x, np.ndarray):
            x = backend.asarray(converted(x, self._dtype_of(x)))
        xp = array_namespace(x)
        if x.dtype != xp.uint8:
            x = xp.astype(x, getattr(xp, self._form.dtype), copy=False)
        _check_finite(x)
        return x

    def _dtype_of(self, x: np.ndarray) -> Any:
        """What the network takes images like ``x`` as."""
        return self._form.dtype if x.dtype.kind == "f" else x.dtype

    def _on_device(self, images: Array, backend: Backend) -> Array:
        xp = array_namespace(images)
        floating = xp.isdtype(images.dtype, "real floating")
        if images.dtype != xp.uint8 and (self._form.takes_bytes or not floating):
            if floating:  # NumPy does not have every dtype of other libraries
                images = xp.astype(images, getattr(xp, self._form.dtype), copy=False)
            images = backend.asarray(self._converted(backend.to_numpy(images)))
        shape = shape_for(tuple(images.shape), self._form.shape)
        return images if tuple(images.shape) == shape else xp.reshape(images, shape)

    def _is_to_convert(self, dtype: np.dtype[Any]) -> bool:
        return dtype != np.uint8 and (self._form.takes_bytes or dtype.kind != "f")

    def _source(self, source: ImageSource, shape: tuple[int, ...]) -> ImageSource:
        if self._is_to_convert(source.dtype):
            sample = np.linspace(0, len(source) - 1, min(_LOOKED_AT, len(source)), dtype=np.int64)
            self._decide(_read(source, sample))
        return _Taken(source, shape, self._scale)

    def _converted(self, array: np.ndarray) -> np.ndarray:
        return as_bytes(array, self._decide(array))

    def _decide(self, array: np.ndarray) -> Scale:
        """The scale of this set, which the first images show."""
        if self._scale is None:
            try:
                self._scale = pixel_scale(array)
            except BrokenRule as broken:
                if self._form.takes_bytes or array.dtype.kind not in "iu":
                    raise
                remedy = "pass floating numbers, scaled as for the training of the network"
                raise BrokenRule(broken.reason, remedy, broken.of_kind) from None
            if self._scale != "byte":
                white = "1" if self._scale == "unit" else "True"
                self._say(f"images: {array.dtype}, {white} is taken as white, the grey value 255")
        return self._scale


class _Taken(ImageSource):
    """The images of another source in the form that a network takes."""

    def __init__(self, source: ImageSource, shape: tuple[int, ...], scale: Scale | None) -> None:
        self._source, self._scale = source, scale
        self.shape: Any = shape
        self.dtype = source.dtype if scale is None else np.dtype(np.uint8)

    def read(self, indices: np.ndarray) -> np.ndarray:
        images = _read(self._source, indices).reshape(len(indices), *self.shape[1:])
        if self._scale is None:
            return images
        with refused("images"):
            return as_bytes(images, self._scale)


def _check_finite(x: Array) -> None:
    xp = array_namespace(x)
    if x.dtype != xp.uint8 and not bool(xp.all(xp.isfinite(x))):
        reason = "must be finite, got NaN or infinity"
        raise BrokenRule(reason, "remove or repair those images")


def _read(source: ImageSource, indices: np.ndarray) -> np.ndarray:
    """What ``source`` has at ``indices``; InvalidValueError where it gives anything else."""
    images, expected = source.read(indices), (len(indices), *source.shape[1:])
    shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
    if not isinstance(images, np.ndarray) or shape != expected or dtype != source.dtype:
        got = type(images).__name__ if dtype is None else f"{dtype} of shape {shape}"
        message = (
            f"images.read: must give a NumPy array of {source.dtype} and shape {expected} for "
            f"{len(indices)} indices, got {got}; give a row for each index, in their order"
        )
        raise InvalidValueError(message)
    return images
