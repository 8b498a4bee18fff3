"""CutMix: a box of each image is another image's while training, and so are the labels."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from arraycnn.layers.augmentation.augmentation import check_probability
from arraycnn.layers.augmentation.boxes import in_box
from arraycnn.layers.augmentation.drawn import chosen
from arraycnn.layers.augmentation.mixing import PARTS, Mixing, beta_quantiles
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.random_bits import whole_numbers
from arraycnn.setting_checks import check_number


@dataclass(frozen=True)
class CutMix(Mixing):
    """A box of each image comes from another image of the batch; the loss is mixed by the areas.

    Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features",
    2019. The share of an image that stays is of the distribution Beta(alpha, alpha); the box has the
    image's proportions, its middle is any pixel, and what is beyond the image is cut, which the share
    follows. The accuracy that `fit` reports in training compares with the image's own label. Nothing
    happens in inference.

    Parameters
    ----------
    alpha : float
        At least 0.01: for 1, areas are uniform.
    probability : float
        Of an image to be mixed; above 0, at most 1.
    """

    moves_pixels: ClassVar[bool] = True
    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_number("CutMix: alpha", self.alpha, minimum=0.01)
        check_probability("CutMix", self.probability)

    def kept(self, words: Array, height: int, width: int) -> Array:
        sizes = chosen(_sizes(self.alpha, height, width), words[:, 0])
        tall, wide = sizes[:, 0], sizes[:, 1]
        tops = whole_numbers(words[:, 1], height) - tall // 2
        lefts = whole_numbers(words[:, 2], width) - wide // 2
        box = in_box(tops, lefts, tall, wide, height, width)
        xp = array_namespace(words)
        return PARTS - PARTS * xp.astype(box, xp.int32)


@lru_cache(16)
def _sizes(alpha: float, height: int, width: int) -> np.ndarray:
    """Rows and columns of boxes, (CHOICES, 2) int32."""
    side = np.sqrt(1.0 - beta_quantiles(alpha))
    return np.rint(side[:, None] * (height, width)).astype(np.int32)
