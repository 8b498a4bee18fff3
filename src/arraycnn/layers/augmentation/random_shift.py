"""RandomShift: images moved by some pixels while training."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from arraycnn.errors import InvalidValueError
from arraycnn.layers.augmentation.augmentation import Fill, check_fill
from arraycnn.layers.augmentation.filled import Filled
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import device
from arraycnn.ops.pixels import inside, pixels_added, pixels_at
from arraycnn.ops.random_bits import whole_numbers
from arraycnn.ops.window import Pair, pair

_LARGEST = 2**14 - 1


class Shifts(Filled):
    """What `RandomShift` and `RandomCrop` are: one moves images, the other the part that is kept."""

    moves_pixels: ClassVar[bool] = True

    @property
    @abstractmethod
    def largest(self) -> tuple[int, int]:
        """How many rows and columns an image may move."""

    def words(self, input_shape: Shape) -> int:
        height, width = input_shape[:2]
        for most, size in zip(self.largest, (height, width), strict=True):
            if most > min(size - 1, _LARGEST):
                fewer = "its own" if most > size - 1 else f"{_LARGEST + 1}"
                message = (
                    f"{type(self).__name__}: pixels beyond an image must be fewer than {fewer}, "
                    f"got {self.largest} for images of {height} x {width}"
                )
                raise InvalidValueError(message)
        return 2

    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        xp = array_namespace(x)
        places = []
        for axis, most in enumerate(self.largest):
            size = x.shape[axis + 1]
            shift = whole_numbers(words[:, axis], 2 * most + 1) - most
            place = xp.arange(size, dtype=xp.int32, device=device(x))[None, :] - shift[:, None]
            if self.fill == "reflect":
                place = (size - 1) - xp.abs((size - 1) - xp.abs(place))
            places.append(place)
        rows, columns = places[0][:, :, None], places[1][:, None, :]
        y = pixels_at(x, rows, columns)
        if (fill := self.fill_for(x)) is not None:
            y = xp.where(inside(rows, columns, *x.shape[1:3])[..., None], y, fill)
        return y, (rows, columns)

    def gradient(self, residuals: Any, dy: Array) -> Array:
        xp = array_namespace(dy)
        (rows, columns), (height, width) = residuals, dy.shape[1:3]
        if not isinstance(self.fill, str):
            dy = xp.where(inside(rows, columns, height, width)[..., None], dy, 0.0)
        return pixels_added(dy, rows, columns, height, width)


@dataclass(frozen=True)
class RandomShift(Shifts):
    """Each image is moved by whole pixels, down or up and to a side. Nothing happens in inference.

    Each shift from ``-pixels`` to ``pixels`` is equally likely.

    Parameters
    ----------
    pixels : int or (int, int)
        The largest shift, of rows and of columns.
    fill : float, "edge" or "reflect"
        What moves in: a number, in those of the images where the layer stands (0 is black before a
        `Rescale`, and grey behind it); the nearest pixel; or the image mirrored at its outermost pixel.
    """

    pixels: Pair = 2
    fill: Fill = 0.0

    def __post_init__(self) -> None:
        pair("RandomShift", "pixels", self.pixels, minimum=0)
        check_fill("RandomShift", self.fill, "edge", "reflect")

    @property
    def largest(self) -> tuple[int, int]:
        return pair("RandomShift", "pixels", self.pixels, minimum=0)
