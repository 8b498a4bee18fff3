"""The named networks. Each is a function of the number of classes and ends with logits."""

import re
from collections.abc import Callable, Iterable

from arraycnn.errors import InvalidValueError
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.undrawn import Undrawn
from arraycnn.networks.densenet import densenet_small
from arraycnn.networks.imagenet_resnet import resnet18, resnet34, resnet50
from arraycnn.networks.mnist import fast_cnn, strided_cnn
from arraycnn.networks.mobilenet import mobilenet_small
from arraycnn.networks.resnet import resnet8, resnet20, resnet32, resnet44, resnet56
from arraycnn.networks.small import basic, lenet5, scratch
from arraycnn.networks.unet import unet_small
from arraycnn.networks.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn

NETWORKS: dict[str, Callable[..., Sequential]] = {
    network.__name__: network
    for network in (
        *(scratch, basic, lenet5, fast_cnn, strided_cnn),
        *(resnet8, resnet18, resnet20, resnet32, resnet34, resnet44, resnet50, resnet56),
        *(vgg11, vgg13, vgg16, vgg11_bn, vgg13_bn, vgg16_bn),
        *(densenet_small, mobilenet_small),
    )
}
"""One class an image."""

PIXEL_NETWORKS: dict[str, Callable[..., Sequential]] = {"unet_small": unet_small}
"""A class for each pixel."""


def listing(names: Iterable[str]) -> str:
    """``names`` in short: those that differ in a number alone are one, resnet8/20/32."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        parts = re.fullmatch(r"(\D+)(\d+)(\D*)", name)
        stem, number, ending = parts.groups() if parts else (name, "", "")
        groups.setdefault((stem, ending), []).append(number)
    return ", ".join(
        f"{stem}{'/'.join(numbers)}{ending}" for (stem, ending), numbers in groups.items()
    )


def smallest_image(network: Layer, channels: int = 1, limit: int = 256) -> int | None:
    """The smallest n such that n x n images fit through ``network``; None above ``limit``."""
    for size in range(1, limit + 1):
        try:
            network.init(Undrawn(), (size, size, channels))
        except InvalidValueError:
            continue
        return size
    return None


__all__ = [
    "NETWORKS",
    "PIXEL_NETWORKS",
    "basic",
    "densenet_small",
    "fast_cnn",
    "lenet5",
    "listing",
    "mobilenet_small",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "scratch",
    "smallest_image",
    "strided_cnn",
    "unet_small",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
]
