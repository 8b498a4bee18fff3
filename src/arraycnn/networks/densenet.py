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
from arraycnn.setting_checks import check_count


def densenet_small(classes: int = 10, growth: int = 12, layers_a_block: int = 6) -> Sequential:
    """DenseNet-BC of 40 layers and 12 channels more in each: 176,122 parameters for three channels.

    Three blocks of ``layers_a_block`` layers; each adds ``growth`` channels to all that there are;
    between blocks half of the channels are kept.
    """
    for name, value in (("growth", growth), ("layers_a_block", layers_a_block)):
        check_count(f"densenet_small: {name}", value)
    channels = 2 * growth
    layers: list[Layer] = [Rescale(), _conv(channels, 3)]
    for block in range(3):
        for _ in range(layers_a_block):
            layers.append(Concatenate(Identity(), Sequential(*_bottleneck(growth))))
            channels += growth
        if block < 2:
            channels //= 2
            layers += [BatchNorm(), ReLU(), _conv(channels, 1), AvgPool2d(2)]
    return Sequential(*layers, BatchNorm(), ReLU(), GlobalAvgPool2d(), Dense(classes))


def _bottleneck(growth: int) -> list[Layer]:
    narrow, grown = _conv(4 * growth, 1), _conv(growth, 3)
    return [BatchNorm(), ReLU(), narrow, BatchNorm(), ReLU(), grown]


def _conv(filters: int, kernel_size: int) -> Conv2d:
    return Conv2d(filters, kernel_size, padding="same", bias=False, initial="he_normal")
