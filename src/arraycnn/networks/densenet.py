"""Huang et al., "Densely connected convolutional networks", 2017: DenseNet-BC."""

from arraycnn.layers import (
    AvgPool2d,
    BatchNorm,
    Concatenate,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    Identity,
    Layer,
    ReLU,
    Rescale,
    Sequential,
)

_GROWTH = 12


def densenet_small(classes: int = 10) -> Sequential:
    """DenseNet-BC of 40 layers and 12 channels more in each: 176,122 parameters for three channels.

    Three blocks of six layers; each adds 12 channels to all that there are; between blocks half of
    the channels are kept.
    """
    channels = 2 * _GROWTH
    layers: list[Layer] = [Rescale(), _conv(channels, 3)]
    for block in range(3):
        for _ in range(6):
            layers.append(Concatenate(Identity(), Sequential(*_bottleneck())))
            channels += _GROWTH
        if block < 2:
            channels //= 2
            layers += [BatchNorm(), ReLU(), _conv(channels, 1), AvgPool2d(2)]
    return Sequential(*layers, BatchNorm(), ReLU(), GlobalAvgPool2d(), Dense(classes))


def _bottleneck() -> list[Layer]:
    narrow, grown = _conv(4 * _GROWTH, 1), _conv(_GROWTH, 3)
    return [BatchNorm(), ReLU(), narrow, BatchNorm(), ReLU(), grown]


def _conv(filters: int, kernel_size: int) -> Conv2d:
    return Conv2d(filters, kernel_size, padding="same", bias=False, initial="he_normal")
