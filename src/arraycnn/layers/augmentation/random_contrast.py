"""RandomContrast: images made stronger or weaker around their mean while training."""

from dataclasses import dataclass
from typing import Any

from arraycnn.errors import InvalidValueError
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

_ONE = 2**12  # a factor is a whole number of so many parts: the same on every engine

_MOST_PIXELS = 2**31 // 511  # of which twice the sum, and a half for rounding, fits into int32


@dataclass(frozen=True)
class RandomContrast(Augmentation):
    """Each pixel's difference from the mean of its image and channel is multiplied by one factor.

    A factor for each image, uniform from 1 - strength to 1 + strength. Nothing happens in inference.
    For uint8 images the mean is rounded, and the result cut to 0 to 255.

    Parameters
    ----------
    strength : float
        Above 0, at most 1.
    """

    strength: float = 0.2

    def __post_init__(self) -> None:
        check_strength("RandomContrast", self.strength)

    def check_use(self, on_bytes: bool) -> None:
        # Bytes are rounded: a difference, 255 at most, must change by more than a half.
        fewest, images = (_ONE // 2 // 255 + 1, "uint8 images") if on_bytes else (1, "images")
        check_effect("RandomContrast", self.strength, _ONE, fewest, images)

    def words(self, input_shape: Shape) -> int:
        height, width = input_shape[:2]
        if height * width > _MOST_PIXELS:
            message = (
                f"RandomContrast: images must have at most {_MOST_PIXELS} pixels, got "
                f"{height} x {width}"
            )
            raise InvalidValueError(message)
        return 1

    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        xp, most = array_namespace(x), round(_ONE * self.strength)
        parts = for_each(_ONE - most + whole_numbers(words[:, 0], 2 * most + 1))
        if not is_bytes(x):
            factor = xp.astype(parts, x.dtype) / float(_ONE)
            return self.gradient((factor,), x), (factor,)
        whole, pixels = xp.astype(x, xp.int32), x.shape[1] * x.shape[2]
        total = xp.sum(whole, axis=(1, 2), keepdims=True, dtype=xp.int32)
        mean = (2 * total + pixels) // (2 * pixels)
        return as_bytes(mean + (((whole - mean) * parts + _ONE // 2) >> 12)), ()

    def gradient(self, residuals: Any, dy: Array) -> Array:
        # What is done to an image is its own adjoint.
        (factor,) = residuals
        mean = array_namespace(dy).mean(dy, axis=(1, 2), keepdims=True)
        return mean + (dy - mean) * factor
