"""Cutout: a square of each image hidden while training."""

from dataclasses import dataclass

from arraycnn.errors import InvalidValueError
from arraycnn.layers.augmentation.augmentation import (
    check_fill,
    check_probability,
    check_sides,
    for_each,
    happens,
)
from arraycnn.layers.augmentation.boxes import Boxes, in_box
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array
from arraycnn.ops.random_bits import whole_numbers
from arraycnn.ops.window import Pair, pair


@dataclass(frozen=True)
class Cutout(Boxes):
    """A box around a pixel of each image becomes one number. Nothing happens in inference.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017:
    each pixel is the middle equally often, so that a part of the box may lie beyond the image.

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns of the box; the image has as many of one of them at least.
    probability : float
        Of an image to get one; above 0, at most 1.
    fill : float
        What is written, in the numbers of the images where the layer stands.
    """

    size: Pair = 8
    probability: float = 1.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        pair("Cutout", "size", self.size)
        check_probability("Cutout", self.probability)
        check_fill("Cutout", self.fill)

    def words(self, input_shape: Shape) -> int:
        check_sides("Cutout", input_shape)
        height, width = input_shape[:2]
        tall, wide = self._sides
        if tall > height and wide > width:
            message = (
                f"Cutout: size must not be beyond images of {height} x {width} both ways, got "
                f"{self.size!r}: often nothing would be left to see"
            )
            raise InvalidValueError(message)
        return 3

    @property
    def _sides(self) -> tuple[int, int]:
        return pair("Cutout", "size", self.size)

    def hidden(self, words: Array, height: int, width: int) -> Array:
        tall, wide = self._sides
        tops = whole_numbers(words[:, 0], height) - tall // 2
        lefts = whole_numbers(words[:, 1], width) - wide // 2
        drawn = for_each(happens(words[:, 2], self.probability))[..., 0]
        return in_box(tops, lefts, tall, wide, height, width) & drawn
