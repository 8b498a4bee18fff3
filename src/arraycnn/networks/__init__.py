"""The named networks. Each is a function of the number of classes and ends with logits."""

from collections.abc import Callable

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers import Layer, Sequential
from arraycnn.networks.densenet import densenet_small
from arraycnn.networks.mobilenet import mobilenet_small
from arraycnn.networks.resnet import resnet8, resnet20, resnet32, resnet44, resnet56
from arraycnn.networks.small import basic, lenet5, scratch
from arraycnn.networks.unet import unet_small
from arraycnn.networks.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn

NETWORKS: dict[str, Callable[..., Sequential]] = {
    network.__name__: network
    for network in (
        *(scratch, basic, lenet5),
        *(resnet8, resnet20, resnet32, resnet44, resnet56),
        *(vgg11, vgg13, vgg16, vgg11_bn, vgg13_bn, vgg16_bn),
        *(densenet_small, mobilenet_small),
    )
}
"""One class an image. `unet_small` gives one for each pixel, so it is no choice of the command line."""


def smallest_image(network: Layer, channels: int = 1, limit: int = 256) -> int | None:
    """The smallest n such that n x n images fit through ``network``; None above ``limit``."""
    for size in range(1, limit + 1):
        try:
            network.init(np.random.default_rng(0), (size, size, channels))
        except InvalidValueError:
            continue
        return size
    return None


__all__ = [
    "NETWORKS",
    "basic",
    "densenet_small",
    "lenet5",
    "mobilenet_small",
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "scratch",
    "smallest_image",
    "unet_small",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
]
