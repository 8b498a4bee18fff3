"""Howard et al., "MobileNets", 2017: convolutions of each channel by itself, then of one pixel."""

from arraycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    Layer,
    ReLU,
    Rescale,
    Sequential,
)
from arraycnn.setting_checks import check_number

# Filters and stride of each pair.
_PAIRS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def mobilenet_small(classes: int = 10, width: float = 0.25) -> Sequential:
    """MobileNet of width 0.25: 215,642 parameters for images of three channels.

    ``width`` is the share of the paper's filters that there are, at least 1/32.
    The first convolution steps over no pixel, since the paper's images have 224 rows.
    """
    check_number("mobilenet_small: width", width, minimum=1 / 32)
    channels = int(32 * width)
    layers: list[Layer] = [Rescale(), *_normalised(channels, 3)]
    for full, stride in _PAIRS:
        filters = int(full * width)
        layers += _normalised(channels, 3, stride, groups=channels)
        layers += _normalised(filters, 1)
        channels = filters
    return Sequential(*layers, GlobalAvgPool2d(), Dense(classes))


def _normalised(filters: int, kernel_size: int, stride: int = 1, groups: int = 1) -> list[Layer]:
    conv = Conv2d(
        filters, kernel_size, stride, "same", bias=False, groups=groups, initial="he_normal"
    )
    return [conv, BatchNorm(), ReLU()]
