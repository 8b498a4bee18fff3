"""Simonyan and Zisserman, "Very deep convolutional networks", 2015: VGG."""

from collections.abc import Callable
from typing import Literal

from arraycnn.errors import InvalidValueError
from arraycnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Sequential,
)
from arraycnn.setting_checks import check_count

Head = Literal["average", "dense"]

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
"""Before each pool."""


def vgg(
    depth: int,
    classes: int = 10,
    batch_norm: bool = False,
    width: int = 64,
    head: Head = "average",
    pooled: int = 7,
    hidden: int = 4096,
) -> Sequential:
    """VGG-11, 13 or 16, for small images or, with ``head="dense"``, as torchvision has it.

    Parameters
    ----------
    width : int
        Filters of the first convolutions; later ones have up to eight times as many.
    head : "average" or "dense"
        One dense layer on the mean of what is left of the image, an odd row or column at the end
        being pooled by itself, so that images of any size fit. Or the paper's three dense layers,
        with dropout, on what is left, brought to ``pooled`` x ``pooled`` pixels.
    pooled, hidden : int
        Of the dense head: the pixels of each side, and the outputs of its first two layers.
    """
    name = f"vgg{depth}{'_bn' if batch_norm else ''}"
    if head not in ("average", "dense"):
        message = f'{name}: head must be "average" or "dense", got {head!r}'
        raise InvalidValueError(message)
    for setting, value in (("width", width), ("pooled", pooled), ("hidden", hidden)):
        check_count(f"{name}: {setting}", value)
    layers: list[Layer] = []
    stages = zip((1, 2, 4, 8, 8), CONVOLUTIONS[depth], strict=True)
    for times, count in stages:
        for _ in range(count):
            layers.append(Conv2d(times * width, 3, padding="same", initial="he_normal"))
            layers += [BatchNorm(), ReLU()] if batch_norm else [ReLU()]
        layers.append(MaxPool2d(2, padding="same" if head == "average" else "valid"))
    if head == "average":
        return Sequential(Rescale(), *layers, GlobalAvgPool2d(), Dense(classes))
    return Sequential(
        Rescale(),
        *layers,
        AdaptiveAvgPool2d(pooled),
        Flatten(),
        *(Dense(hidden), ReLU(), Dropout(0.5)),
        *(Dense(hidden), ReLU(), Dropout(0.5)),
        Dense(classes),
    )


def _of_depth(depth: int, batch_norm: bool, about: str) -> Callable[..., Sequential]:
    def network(
        classes: int = 10,
        width: int = 64,
        head: Head = "average",
        pooled: int = 7,
        hidden: int = 4096,
    ) -> Sequential:
        return vgg(depth, classes, batch_norm, width, head, pooled, hidden)

    network.__name__ = network.__qualname__ = f"vgg{depth}{'_bn' if batch_norm else ''}"
    network.__doc__ = f"{about} Arguments are those of `vgg`."
    return network


vgg11 = _of_depth(11, False, "Eight convolutions: 9,225,610 parameters for three channels.")
vgg13 = _of_depth(13, False, "Ten convolutions: 9,410,122 parameters for three channels.")
vgg16 = _of_depth(16, False, "Thirteen convolutions: 14,719,818 parameters for three channels.")
vgg11_bn = _of_depth(11, True, "`vgg11` with batch norm.")
vgg13_bn = _of_depth(13, True, "`vgg13` with batch norm.")
vgg16_bn = _of_depth(16, True, "`vgg16` with batch norm.")
