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

# Filters and stride of each pair; a quarter of the paper's filters.
_PAIRS = (
    *((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)),
    *((128, 1),) * 5,
    *((256, 2), (256, 1)),
)


def mobilenet_small(classes: int = 10) -> Sequential:
    """MobileNet of width 0.25: 215,642 parameters for images of three channels.

    The first convolution steps over no pixel, since the paper's images have 224 rows.
    """
    layers: list[Layer] = [Rescale(), *_normalised(8, 3)]
    channels = 8
    for filters, stride in _PAIRS:
        layers += _normalised(channels, 3, stride, groups=channels)
        layers += _normalised(filters, 1)
        channels = filters
    return Sequential(*layers, GlobalAvgPool2d(), Dense(classes))


def _normalised(filters: int, kernel_size: int, stride: int = 1, groups: int = 1) -> list[Layer]:
    conv = Conv2d(
        filters, kernel_size, stride, "same", bias=False, groups=groups, initial="he_normal"
    )
    return [conv, BatchNorm(), ReLU()]
