"""RandomErasing: a rectangle of each image, of any shape, erased while training."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.augmentation.augmentation import (
    check_fill,
    check_probability,
    check_range,
    check_sides,
    for_each,
    happens,
)
from arraycnn.layers.augmentation.boxes import Boxes, in_box
from arraycnn.layers.augmentation.drawn import between, chosen, even_points
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array
from arraycnn.ops.random_bits import whole_numbers


@dataclass(frozen=True)
class RandomErasing(Boxes):
    """A rectangle inside some images becomes one number. Nothing happens in inference.

    Zhong et al., "Random erasing data augmentation", 2020. Its area and the logarithm of height over
    width are uniform (4,096 sizes, cut to the image); so is its place.

    Parameters
    ----------
    probability : float
        Of an image to get one; above 0, at most 1.
    area : (float, float)
        Least and largest, as a share of the image; above 0, at most 1.
    ratio : (float, float)
        Least and largest height over width; above 0.
    fill : float
        What is written, in the numbers of the images where the layer stands.
    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    fill: float = 0.0

    def __post_init__(self) -> None:
        check_probability("RandomErasing", self.probability)
        for name in ("area", "ratio"):
            low, high = check_range("RandomErasing", name, getattr(self, name))
            if low <= 0.0 or (name == "area" and high > 1.0):
                rule = "above 0 and at most 1" if name == "area" else "above 0"
                message = f"RandomErasing: {name} must be {rule}, got {(low, high)}"
                raise InvalidValueError(message)
        check_fill("RandomErasing", self.fill)

    def words(self, input_shape: Shape) -> int:
        check_sides("RandomErasing", input_shape)
        return 4

    def hidden(self, words: Array, height: int, width: int) -> Array:
        sizes = chosen(_sizes(self.area, self.ratio, height, width), words[:, 0])
        tall, wide = sizes[:, 0], sizes[:, 1]
        tops = whole_numbers(words[:, 1], height + 1 - tall)
        lefts = whole_numbers(words[:, 2], width + 1 - wide)
        drawn = for_each(happens(words[:, 3], self.probability))[..., 0]
        return in_box(tops, lefts, tall, wide, height, width) & drawn


@lru_cache(16)
def _sizes(
    area: tuple[float, float], ratio: tuple[float, float], height: int, width: int
) -> np.ndarray:
    """Rows and columns of rectangles, (CHOICES, 2) int32."""
    points = even_points(2)
    pixels = between(area, points[:, 0]) * (height * width)
    shape = np.exp(between((np.log(ratio[0]), np.log(ratio[1])), points[:, 1]))
    sizes = np.rint(np.sqrt(np.stack([pixels * shape, pixels / shape], axis=1)))
    return np.clip(sizes, 1, (height, width)).astype(np.int32)
