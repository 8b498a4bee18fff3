"""Ronneberger, Fischer and Brox, "U-Net", 2015, with padding: a class for each pixel."""

from arraycnn.layers import (
    BatchNorm,
    Concatenate,
    Conv2d,
    ConvTranspose2d,
    Identity,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Sequential,
)
from arraycnn.setting_checks import check_count


def unet_small(classes: int = 2, width: int = 16, halvings: int = 2) -> Sequential:
    """A U-Net of three levels, 16, 32 and 64 channels: (N, H, W, C) to (N, H, W, classes).

    ``width`` is how many channels the first level has; each of ``halvings`` further ones has twice
    those before it. Rows and columns must be multiples of 4, of 2 to the power of ``halvings``.
    Its labels are class numbers of pixels, (N, H, W).
    """
    check_count("unet_small: width", width)
    check_count("unet_small: halvings", halvings, minimum=0)
    return Sequential(Rescale(), *_level(width, halvings), Conv2d(classes, 1))


def _level(filters: int, below: int) -> list[Layer]:
    """What is done at one size of the image, and ``below`` further ones, each half as large."""
    if below == 0:
        return _twice(filters)
    around = Sequential(
        MaxPool2d(2),
        *_level(2 * filters, below - 1),
        ConvTranspose2d(filters, 2, stride=2),
    )
    return [*_twice(filters), Concatenate(Identity(), around), *_twice(filters)]


def _twice(filters: int) -> list[Layer]:
    one: list[Layer] = [
        Conv2d(filters, 3, padding="same", bias=False, initial="he_normal"),
        BatchNorm(),
        ReLU(),
    ]
    return one * 2
