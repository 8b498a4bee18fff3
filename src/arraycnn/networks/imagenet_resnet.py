"""The residual networks for photographs of He et al., "Deep residual learning", 2016, section 4.1.

In the form of torchvision, whose weights they take: blocks with a bottleneck halve the image in their
3x3 convolution (version 1.5), not in the first.
"""

from collections.abc import Callable
from typing import Literal

from arraycnn.errors import InvalidValueError
from arraycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Sequential,
)
from arraycnn.setting_checks import check_count

Stem = Literal["7x7", "3x3"]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""In each stage; those of 50 layers have a bottleneck."""


def imagenet_resnet(
    depth: int, classes: int = 10, width: int = 64, stem: Stem = "7x7"
) -> Sequential:
    """ResNet-18, 34 or 50: four stages of ``width``, 2, 4 and 8 times ``width`` channels.

    Parameters
    ----------
    width : int
        Channels of the first stage; those behind a bottleneck are four times as many.
    stem : "7x7" or "3x3"
        What comes before the stages: a convolution and a max-pool that halve the image twice; or,
        for images of 32 x 32 pixels, a convolution that leaves it as large as it is.
    """
    if stem not in ("7x7", "3x3"):
        message = f'resnet{depth}: stem must be "7x7" or "3x3", got {stem!r}'
        raise InvalidValueError(message)
    check_count(f"resnet{depth}: width", width)
    bottleneck = depth >= 50
    layers: list[Layer] = [Rescale()]
    if stem == "7x7":
        layers += [*_normalised(width, 7, 2), ReLU(), MaxPool2d(3, 2, padding=(1, 1))]
    else:
        layers += [*_normalised(width, 3), ReLU()]
    channels = width
    for stage, count in enumerate(BLOCKS[depth]):
        filters = width * 2**stage
        given = 4 * filters if bottleneck else filters
        for place in range(count):
            stride = 2 if stage and place == 0 else 1
            body = _narrow(filters, stride) if bottleneck else _plain(filters, stride)
            shape_changes = stride > 1 or channels != given
            shortcut = Sequential(*_normalised(given, 1, stride)) if shape_changes else None
            layers += [Residual(body, shortcut), ReLU()]
            channels = given
    return Sequential(*layers, GlobalAvgPool2d(), Dense(classes))


def _normalised(filters: int, kernel_size: int, stride: int = 1) -> list[Layer]:
    sides = (kernel_size // 2, kernel_size // 2)
    conv = Conv2d(filters, kernel_size, stride, sides, bias=False, initial="he_normal")
    return [conv, BatchNorm()]


def _plain(filters: int, stride: int) -> Sequential:
    return Sequential(*_normalised(filters, 3, stride), ReLU(), *_normalised(filters, 3))


def _narrow(filters: int, stride: int) -> Sequential:
    return Sequential(
        *_normalised(filters, 1),
        ReLU(),
        *_normalised(filters, 3, stride),
        ReLU(),
        *_normalised(4 * filters, 1),
    )


def _of_depth(depth: int, about: str) -> Callable[..., Sequential]:
    def network(classes: int = 10, width: int = 64, stem: Stem = "7x7") -> Sequential:
        return imagenet_resnet(depth, classes, width, stem)

    network.__name__ = network.__qualname__ = f"resnet{depth}"
    network.__doc__ = f"{about} Arguments are those of `imagenet_resnet`."
    return network


resnet18 = _of_depth(18, "11,689,512 parameters for 1,000 classes of images of three channels.")
resnet34 = _of_depth(34, "21,797,672 parameters for 1,000 classes of images of three channels.")
resnet50 = _of_depth(50, "25,557,032 parameters for 1,000 classes of images of three channels.")
