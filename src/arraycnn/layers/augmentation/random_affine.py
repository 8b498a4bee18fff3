"""RandomAffine: images turned, sheared, zoomed and moved while training."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.augmentation.augmentation import Fill, check_fill, check_range
from arraycnn.layers.augmentation.drawn import between, chosen, even_points
from arraycnn.layers.augmentation.warp import Warp
from arraycnn.layers.layer import Shape
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import device
from arraycnn.ops.pixels import FRACTION
from arraycnn.setting_checks import check_number


@dataclass(frozen=True)
class RandomAffine(Warp):
    """Each image is sheared, zoomed, turned around its middle, then moved.

    Bilinear, and uniform over each range: an image gets one of 4,096 maps, which fill the ranges
    evenly. Nothing happens in inference.

    Parameters
    ----------
    degrees : float
        The largest rotation, to either side.
    scale : (float, float)
        The least and the largest zoom, above 0.
    shear : float
        The largest shear of rows against each other, in degrees to either side; below 90.
    translate : float
        How far an image is moved at most, as a share of its height and width, 0 to 1.
    fill : float or "edge"
        What moves in: a number, in those of the images where the layer stands (0 is black before a
        `Rescale`, and grey behind it), or the nearest pixel.
    """

    degrees: float = 10.0
    scale: tuple[float, float] = (0.9, 1.1)
    shear: float = 0.0
    translate: float = 0.0
    fill: Fill = 0.0

    def __post_init__(self) -> None:
        for name in ("degrees", "shear", "translate"):
            check_number(f"RandomAffine: {name}", getattr(self, name), minimum=0.0)
        if self.shear >= 90.0:
            message = f"RandomAffine: shear must be below 90 degrees, got {self.shear!r}"
            raise InvalidValueError(message)
        if self.translate > 1.0:
            message = (
                "RandomAffine: translate must be at most 1, of an image's height and width, got "
                f"{self.translate!r}"
            )
            raise InvalidValueError(message)
        if check_range("RandomAffine", "scale", self.scale)[0] <= 0.0:
            message = f"RandomAffine: scale must be above 0, got {self.scale!r}"
            raise InvalidValueError(message)
        check_fill("RandomAffine", self.fill, "edge")

    def words(self, input_shape: Shape) -> int:
        _maps(self, *input_shape[:2])
        return 1

    def places(self, words: Array, height: int, width: int) -> tuple[Array, Array]:
        xp, place = array_namespace(words), device(words)
        maps = chosen(_maps(self, height, width), words[:, 0])[:, :, None, None]
        rows = xp.arange(height, dtype=xp.int32, device=place)[None, :, None]
        columns = xp.arange(width, dtype=xp.int32, device=place)[None, None, :]
        down, right = (
            maps[:, first, ...] * rows + maps[:, first + 1, ...] * columns + maps[:, first + 2, ...]
            for first in (0, 3)
        )
        return down, right


@lru_cache(16)
def _maps(layer: RandomAffine, height: int, width: int) -> np.ndarray:
    """Where pixels are read, (CHOICES, 6) int32, in 1 / 2^FRACTION of a pixel.

    Row a i + b j + c and column d i + e j + f for the pixel (i, j): the inverse of what is done to the
    image.
    """
    shares = 2.0 * even_points(5) - 1.0
    angle, shear = (
        np.radians(most * shares[:, axis]) for axis, most in enumerate((layer.degrees, layer.shear))
    )
    zoom = between(layer.scale, (1.0 + shares[:, 2]) / 2.0)
    cosine, sine, slope = np.cos(angle), np.sin(angle), np.tan(shear)
    # Of (row, column): turned counter-clockwise, as one sees it, after columns move with their row.
    there = np.array([[cosine - sine * slope, -sine], [sine + cosine * slope, cosine]]) * zoom
    back = np.linalg.inv(there.transpose(2, 0, 1))
    middle = np.array([(height - 1) / 2.0, (width - 1) / 2.0])
    moved = layer.translate * shares[:, 3:] * (height, width)
    begin = middle - np.einsum("nrc,nc->nr", back, middle + moved)
    maps = np.concatenate([back, begin[:, :, None]], axis=2)
    farthest = np.abs(maps) @ np.array([height, width, 1.0])
    if farthest.max() >= 2 ** (31 - FRACTION):
        message = (
            f"RandomAffine: no pixel may be read {2 ** (31 - FRACTION)} or more from an image's first "
            f"one, got {math.ceil(farthest.max())} for images of {height} x {width}; "
            "have less shear or a larger least scale"
        )
        raise InvalidValueError(message)
    return np.rint(maps * 2**FRACTION).astype(np.int32).reshape(len(maps), 6)
