"""RandomBrightness: images made lighter or darker while training."""

from dataclasses import dataclass
from typing import Any

from arraycnn.layers.augmentation.augmentation import (
    Augmentation,
    as_bytes,
    check_effect,
    check_strength,
    for_each,
    is_bytes,
)
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.random_bits import whole_numbers


@dataclass(frozen=True)
class RandomBrightness(Augmentation):
    """A number is added to each image, the same to all of its pixels. Nothing happens in inference.

    Uint8 images stay from 0 to 255, cut where the sum is beyond.

    Parameters
    ----------
    strength : float
        The largest number, up or down, as a share of the range from black to white: of 255 for uint8,
        of 1 for floating images, as behind ``Rescale()``. Above 0, at most 1.
    """

    strength: float = 0.2

    def __post_init__(self) -> None:
        check_strength("RandomBrightness", self.strength)

    def check_use(self, on_bytes: bool) -> None:
        check_effect("RandomBrightness", self.strength, 255)

    def words(self, input_shape: Shape) -> int:
        return 1

    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        xp, most = array_namespace(x), round(255 * self.strength)
        shift = for_each(whole_numbers(words[:, 0], 2 * most + 1) - most)
        if is_bytes(x):
            return as_bytes(xp.astype(x, xp.int32) + shift), ()
        return x + xp.astype(shift, x.dtype) / 255.0, ()

    def gradient(self, residuals: Any, dy: Array) -> Array:
        return dy
