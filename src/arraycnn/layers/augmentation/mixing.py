"""Mixing: what layers that mix the images of a batch, and their labels, have in common.

A layer sees images alone. So it leaves among its residuals who was mixed with whom, a `Mixture`, for
which the training step looks (`mixtures_of`): it adds up an image's loss with its own label and that
with its partner's, in the same shares.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.augmentation.augmentation import Augmentation, check_sides, happens
from arraycnn.layers.augmentation.drawn import CHOICES
from arraycnn.layers.layer import Context
from arraycnn.ops import GENERIC, Array, array_namespace
from arraycnn.ops.arrays import device
from arraycnn.ops.random_bits import whole_numbers

_BITS = 10
PARTS = 2**_BITS
"""Parts of an image: shares are whole numbers of them, the same on every engine."""

_MOST_IMAGES = 2**15


class Mixture(NamedTuple):
    """Who was mixed with whom.

    Attributes
    ----------
    partner : array, (N,), int32
        The position in the batch of each image's partner.
    own : array, (N,), int32
        How many of `PARTS` parts are the image's own.
    """

    partner: Array
    own: Array


def mixtures_of(residuals: Any) -> list[Mixture]:
    """All of a nest of residuals, in the order of their layers."""
    if isinstance(residuals, Mixture):
        return [residuals]
    if isinstance(residuals, dict):
        residuals = tuple(residuals.values())
    if not isinstance(residuals, tuple | list):
        return []
    return [mixture for part in residuals for mixture in mixtures_of(part)]


class Mixing(Augmentation):
    """Each image gets a part of another one of its batch, its partner, and of that one's label.

    Any other image is equally likely to be the partner. An image that is alone in its batch stays. On
    several processes partners are of the same block of images (`WholeBatch`).
    """

    mixes_labels: ClassVar[bool] = True
    over_batch: ClassVar[bool] = True
    probability: float

    @abstractmethod
    def kept(self, words: Array, height: int, width: int) -> Array:
        """Which part of the image stays, int32, of `PARTS`, (N, 1, 1) or of each pixel."""

    def words(self, input_shape: tuple[int, ...]) -> int:
        check_sides(type(self).__name__, input_shape)
        height, width = input_shape[:2]
        if height * width * PARTS >= 2**31:
            message = (
                f"{type(self).__name__}: images must have less than {2**31 // PARTS} pixels, "
                f"got {height} x {width}"
            )
            raise InvalidValueError(message)
        return 5

    def augmented_in(self, context: Context, x: Array, words: Array) -> tuple[Array, Any]:
        return self.mixed(x, words, x.shape[0] if context.whole is None else context.whole.block)

    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        return self.mixed(x, words, x.shape[0])

    def mixed(self, x: Array, words: Array, block: int) -> tuple[Array, Any]:
        """``x`` mixed by ``words``, as `augmented`; partners are of the same ``block`` images."""
        xp, (images, height, width) = array_namespace(x), x.shape[:3]
        if images > _MOST_IMAGES:
            message = (
                f"{type(self).__name__}: a batch must have at most {_MOST_IMAGES} images, "
                f"got {images}; use a smaller batch_size"
            )
            raise InvalidValueError(message)
        place = xp.arange(images, dtype=xp.int32, device=device(x))
        if block >= images:
            count, end = images, images
        else:
            first = np.arange(images) // block * block
            ends = np.minimum(first + block, images)
            count, end = (
                xp.asarray(numbers.astype(np.int32), device=device(x))
                for numbers in (ends - first, ends)
            )
        other = place + 1 + whole_numbers(words[:, 0], count - 1)
        partner = xp.where(other >= end, other - count, other)
        is_mixed = happens(words[:, 1], self.probability) & (partner != place)
        kept = xp.where(is_mixed[:, None, None], self.kept(words[:, 2:], height, width), PARTS)
        own = xp.sum(xp.broadcast_to(kept, (images, height, width)), axis=(1, 2), dtype=xp.int32)
        mixture = Mixture(partner, own // (height * width))
        return _mixed(x, xp.take(x, partner, axis=0), kept[..., None]), (mixture, kept)

    def gradient_in(self, context: Context, residuals: Any, dy: Array) -> Array:
        return self.lent_back(residuals, dy, context.ops.matmul)

    def gradient(self, residuals: Any, dy: Array) -> Array:
        return self.lent_back(residuals, dy, GENERIC.matmul)

    def lent_back(
        self, residuals: Any, dy: Array, matmul: Callable[[Array, Array], Array]
    ) -> Array:
        """dx of `augmented`: its own part of each image, and what it lent to others, by ``matmul``."""
        xp, images = array_namespace(dy), dy.shape[0]
        (partner, _), kept = residuals
        share = xp.astype(kept, dy.dtype)[..., None] / float(PARTS)
        # From each image that had it for a partner: a product with a matrix of zeros and ones.
        place = xp.arange(images, dtype=xp.int32, device=device(dy))
        had = xp.astype(place[:, None] == partner[None, :], dy.dtype)
        lent = matmul(had, xp.reshape((1.0 - share) * dy, (images, -1)))
        return share * dy + xp.reshape(lent, dy.shape)


def _mixed(x: Array, other: Array, kept: Array) -> Array:
    """``kept`` parts of ``x``, the others of ``other``."""
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "integral"):
        total = kept * xp.astype(x, xp.int32) + (PARTS - kept) * xp.astype(other, xp.int32)
        return xp.astype((total + PARTS // 2) >> _BITS, x.dtype)
    share = xp.astype(kept, x.dtype) / float(PARTS)
    return share * x + (1.0 - share) * other


def beta_quantiles(alpha: float) -> np.ndarray:
    """The (CHOICES,) quantiles of Beta(alpha, alpha), at the middles of as many equal shares.

    The density is x^(alpha - 1) (1 - x)^(alpha - 1) over the Beta function, integrated by the
    trapezoidal rule up to x = 1 / 2; above, it is the same mirrored. Up to alpha = 1 in u = x^alpha,
    where it has no pole; beyond in x = (1 - d) / 2, of d within 20 standard deviations: of a large
    alpha, next to all of it lies near the middle.
    """
    if alpha <= 1.0:
        u = np.linspace(0.0, 0.5**alpha, 2**14 + 1)
        lower = _lower_quantiles(u, (1.0 - u ** (1.0 / alpha)) ** (alpha - 1.0)) ** (1.0 / alpha)
    else:
        d = min(1.0, 20.0 / math.sqrt(2.0 * alpha + 1.0)) * np.linspace(1.0, 0.0, 2**14 + 1)
        heights = np.exp((alpha - 1.0) * np.log1p(-np.minimum(d * d, 1.0 - 2.0**-50)))
        lower = (1.0 + _lower_quantiles(-d, heights)) / 2.0
    return np.concatenate([lower, 1.0 - lower[::-1]])


def _lower_quantiles(places: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Those below the middle, at which ``places`` end, of a density of these heights."""
    areas = np.concatenate([[0.0], np.cumsum(heights[1:] + heights[:-1])])
    shares = (np.arange(CHOICES // 2) + 0.5) / CHOICES
    return np.interp(shares, 0.5 * areas / areas[-1], places)
