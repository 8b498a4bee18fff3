"""The named networks. Each is a function of the number of classes and ends with logits."""

from collections.abc import Callable

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers import Layer, Sequential
from arraycnn.networks.small import basic, lenet5, scratch

NETWORKS: dict[str, Callable[..., Sequential]] = {
    "scratch": scratch,
    "basic": basic,
    "lenet5": lenet5,
}


def smallest_image(network: Layer, channels: int = 1, limit: int = 256) -> int | None:
    """The smallest n such that n x n images fit through ``network``; None above ``limit``."""
    for size in range(1, limit + 1):
        try:
            network.init(np.random.default_rng(0), (size, size, channels))
        except InvalidValueError:
            continue
        return size
    return None


__all__ = ["NETWORKS", "basic", "lenet5", "scratch", "smallest_image"]
