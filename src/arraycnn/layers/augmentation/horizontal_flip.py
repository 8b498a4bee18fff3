"""HorizontalFlip: images mirrored left to right while training."""

from dataclasses import dataclass
from typing import Any, ClassVar

from arraycnn.layers.augmentation.augmentation import (
    Augmentation,
    check_probability,
    for_each,
    happens,
)
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array, array_namespace


@dataclass(frozen=True)
class HorizontalFlip(Augmentation):
    """Each image is mirrored, left to right, with a probability. Nothing happens in inference.

    Parameters
    ----------
    probability : float
        Above 0, at most 1.
    """

    moves_pixels: ClassVar[bool] = True
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability("HorizontalFlip", self.probability)

    def words(self, input_shape: Shape) -> int:
        return 1

    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        mirrored = happens(words[:, 0], self.probability)
        return self.gradient((mirrored,), x), (mirrored,)

    def gradient(self, residuals: Any, dy: Array) -> Array:
        xp = array_namespace(dy)
        (mirrored,) = residuals
        return xp.where(for_each(mirrored), xp.flip(dy, axis=2), dy)
