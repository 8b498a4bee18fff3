"""ElasticDeformation: images pulled about, smoothly, while training."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from arraycnn.layers.augmentation.augmentation import (
    Fill,
    check_effect,
    check_fill,
    check_sides,
    check_strength,
)
from arraycnn.layers.augmentation.warp import Warp
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import device
from arraycnn.ops.random_bits import whole_numbers
from arraycnn.setting_checks import check_count

_BITS = 8  # of a weight; with those of a displacement's parts, two of them make 1 / 65536
_LARGEST = 63.0


@dataclass(frozen=True)
class ElasticDeformation(Warp):
    """Each pixel is read some way off, and its neighbours nearly as far. Nothing happens in inference.

    As in Ronneberger, Fischer, Brox, "U-Net", 2015, section 3.1: random displacements on a coarse grid,
    and between them cubic curves (uniform B-splines); after Simard, Steinkraus, Platt, "Best practices
    for convolutional neural networks", 2003. Bilinear.

    Parameters
    ----------
    strength : float
        Pixels: displacements on the grid are uniform from -strength to strength, for rows and columns
        each. Above 0, at most 63. A pixel's own is a mean of neighbours, a quarter as large on average.
    spacing : int
        Pixels from one point of the grid to the next.
    fill : float or "edge"
        What is beyond an image, as in `RandomAffine`.
    """

    strength: float = 4.0
    spacing: int = 8
    fill: Fill = 0.0

    def __post_init__(self) -> None:
        check_strength("ElasticDeformation", self.strength, _LARGEST)
        check_count("ElasticDeformation: spacing", self.spacing)
        check_fill("ElasticDeformation", self.fill, "edge")

    def check_use(self, on_bytes: bool) -> None:
        super().check_use(on_bytes)
        check_effect("ElasticDeformation", self.strength, 2**_BITS)

    def words(self, input_shape: Shape) -> int:
        check_sides("ElasticDeformation", input_shape)
        down, right = (_weights(size, self.spacing).shape[1] for size in input_shape[:2])
        return 2 * down * right

    def places(self, words: Array, height: int, width: int) -> tuple[Array, Array]:
        xp, place = array_namespace(words), device(words)
        tables = [
            xp.asarray(_weights(size, self.spacing), dtype=xp.int32, device=place)
            for size in (height, width)
        ]
        points = tuple(table.shape[1] for table in tables)
        most = round(2**_BITS * self.strength)
        grid = xp.reshape(whole_numbers(words, 2 * most + 1) - most, (-1, 2, *points))
        found = []
        for axis, size in enumerate((height, width)):
            lines = sum(
                tables[0][None, :, None, point] * grid[:, axis, None, point, :]
                for point in range(points[0])
            )
            off = sum(
                tables[1][None, None, :, point] * lines[:, :, None, point]
                for point in range(points[1])
            )
            pixel = xp.arange(size, dtype=xp.int32, device=place) << (2 * _BITS)
            pixel = pixel[None, :, None] if axis == 0 else pixel[None, None, :]
            found.append(pixel + (off >> _BITS))
        return found[0], found[1]


@lru_cache(64)
def _weights(size: int, spacing: int) -> np.ndarray:
    """What each point of the grid counts at each pixel of an axis, (size, points) int32, of 2^_BITS.

    Uniform cubic B-splines: four points count, those around the pixel and one more on each side.
    """
    at = np.arange(size) / spacing
    before = np.floor(at).astype(int)
    t = at - before
    curves = [
        (1.0 - t) ** 3,
        3.0 * t**3 - 6.0 * t**2 + 4.0,
        -3.0 * t**3 + 3.0 * t**2 + 3.0 * t + 1.0,
        t**3,
    ]
    weights = np.zeros((size, before[-1] + 4))
    for number, curve in enumerate(curves):
        weights[np.arange(size), before + number] = curve / 6.0
    return np.rint(weights * 2**_BITS).astype(np.int32)
