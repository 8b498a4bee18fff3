"""Mixup: each image blended with another one while training, and so are the labels."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from arraycnn.layers.augmentation.augmentation import check_probability
from arraycnn.layers.augmentation.drawn import chosen
from arraycnn.layers.augmentation.mixing import PARTS, Mixing, beta_quantiles
from arraycnn.ops import Array
from arraycnn.setting_checks import check_number


@dataclass(frozen=True)
class Mixup(Mixing):
    """share * image + (1 - share) * another image of the batch; the loss is mixed in the same shares.

    Zhang et al., "mixup: beyond empirical risk minimization", 2018. Each image has a share of its own,
    of the distribution Beta(alpha, alpha), in 1,024 parts. The accuracy that `fit` reports in training
    compares with the image's own label. Nothing happens in inference.

    Parameters
    ----------
    alpha : float
        At least 0.01: near 0, shares are nearly 0 or 1; for 1 they are uniform.
    probability : float
        Of an image to be mixed; above 0, at most 1.
    """

    alpha: float = 0.2
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_number("Mixup: alpha", self.alpha, minimum=0.01)
        check_probability("Mixup", self.probability)

    def kept(self, words: Array, height: int, width: int) -> Array:
        return chosen(_shares(self.alpha), words[:, 0])[:, None, None]


@lru_cache(16)
def _shares(alpha: float) -> np.ndarray:
    """(CHOICES,) int32, of PARTS."""
    return np.rint(PARTS * beta_quantiles(alpha)).astype(np.int32)
