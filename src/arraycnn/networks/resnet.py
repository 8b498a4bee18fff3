"""The residual networks for small images of He et al., "Deep residual learning", 2016, section 4.2."""

from collections.abc import Callable
from typing import Literal

from arraycnn.errors import InvalidValueError
from arraycnn.layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    Layer,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    ZeroPadChannels,
)
from arraycnn.setting_checks import check_count

Shortcut = Literal["projection", "zeros"]


def resnet(
    depth: int,
    classes: int = 10,
    width: int = 16,
    shortcut: Shortcut = "projection",
    torch_padding: bool = False,
) -> Sequential:
    """``depth`` layers with weights, 6 n + 2: three stages of n blocks.

    Parameters
    ----------
    width : int
        Channels of the first stage; the next two have twice and four times as many.
    shortcut : "projection" or "zeros"
        Where a block halves the image, its shortcut is a convolution of one pixel (the paper's B),
        or every second pixel with as many channels of zeros (its A, which has no parameters).
    torch_padding : bool
        Whether a 3x3 convolution pads the image by a pixel on each side, as in PyTorch's modules;
        otherwise one that halves an even image pads it at the bottom and on the right.
    """
    if shortcut not in ("projection", "zeros"):
        message = f'resnet{depth}: shortcut must be "projection" or "zeros", got {shortcut!r}'
        raise InvalidValueError(message)
    check_count(f"resnet{depth}: width", width)
    if width % 2 and shortcut == "zeros":
        message = f"resnet{depth}: width must be even for a shortcut of zeros, got {width}"
        raise InvalidValueError(message)
    padding = (1, 1) if torch_padding else "same"

    def normalised(filters: int, kernel_size: int, stride: int = 1) -> list[Layer]:
        around = padding if kernel_size == 3 else "same"
        conv = Conv2d(filters, kernel_size, stride, around, bias=False, initial="he_normal")
        return [conv, BatchNorm()]

    def around(filters: int, stride: int) -> Layer | None:
        if stride == 1:
            return None
        if shortcut == "zeros":
            added = filters // 4  # on both sides, which doubles the channels
            return Sequential(AvgPool2d(1, stride), ZeroPadChannels(added, added))
        return Sequential(*normalised(filters, 1, stride))

    def block(filters: int, stride: int) -> Residual:
        body = Sequential(*normalised(filters, 3, stride), ReLU(), *normalised(filters, 3))
        return Residual(body, around(filters, stride))

    return Sequential(
        Rescale(),
        *normalised(width, 3),
        ReLU(),
        *(
            layer
            for stage, filters in enumerate((width, 2 * width, 4 * width))
            for place in range((depth - 2) // 6)
            for layer in (block(filters, 2 if stage and place == 0 else 1), ReLU())
        ),
        GlobalAvgPool2d(),
        Dense(classes),
    )


def _of_depth(depth: int, about: str) -> Callable[..., Sequential]:
    def network(
        classes: int = 10,
        width: int = 16,
        shortcut: Shortcut = "projection",
        torch_padding: bool = False,
    ) -> Sequential:
        return resnet(depth, classes, width, shortcut, torch_padding)

    network.__name__ = network.__qualname__ = f"resnet{depth}"
    network.__doc__ = f"{about} Arguments are those of `resnet`."
    return network


resnet8 = _of_depth(8, "One block a stage: 78,042 parameters for images of three channels.")
resnet20 = _of_depth(20, "Three blocks a stage: 272,474 parameters for images of three channels.")
resnet32 = _of_depth(32, "Five blocks a stage.")
resnet44 = _of_depth(44, "Seven blocks a stage.")
resnet56 = _of_depth(56, "Nine blocks a stage: 855,770 parameters for images of three channels.")
