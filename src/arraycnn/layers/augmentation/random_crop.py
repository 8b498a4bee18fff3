"""RandomCrop: a part of each padded image, as large as the image, while training."""

from dataclasses import dataclass

from arraycnn.layers.augmentation.augmentation import Fill, check_fill
from arraycnn.layers.augmentation.random_shift import Shifts
from arraycnn.ops.window import Pair, pair


@dataclass(frozen=True)
class RandomCrop(Shifts):
    """Each image is padded, and a part of it is kept that is as large as the image was.

    He et al., "Deep residual learning", 2016, section 4.2, for CIFAR-10: 4 pixels on each side, and
    a crop of 32 x 32. Each place is equally likely. Nothing happens in inference.

    Parameters
    ----------
    padding : int or (int, int)
        Pixels on each side, for rows and for columns.
    fill : float, "edge" or "reflect"
        What is padded, as in `RandomShift`.
    """

    padding: Pair = 4
    fill: Fill = 0.0

    def __post_init__(self) -> None:
        pair("RandomCrop", "padding", self.padding, minimum=0)
        check_fill("RandomCrop", self.fill, "edge", "reflect")

    @property
    def largest(self) -> tuple[int, int]:
        return pair("RandomCrop", "padding", self.padding, minimum=0)
