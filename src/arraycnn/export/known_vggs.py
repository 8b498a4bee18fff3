"""VGG by the keys of its checkpoints."""

import math
from typing import Any

from arraycnn.export.checkpoint_keys import IMAGENET, Keys, KnownCheckpoint, cifar
from arraycnn.networks import NETWORKS
from arraycnn.networks.vgg import CONVOLUTIONS


def known_vgg(keys: Keys) -> KnownCheckpoint:
    """The network of a file with ``features.0``, a convolution, and dense layers ``classifier``."""
    width, channels, _, _ = keys.shape("features.0.weight", 4)
    batch_norm = any(key.startswith("features.") and key.endswith(".running_mean") for key in keys)
    convolutions = _convolutions(keys)
    depths = [d for d, counts in CONVOLUTIONS.items() if sum(counts) == convolutions]
    if not depths:
        has = f"{convolutions} convolutions"
        keys.refuse_network(has, "VGG-11, 13 or 16 of 8, 10 or 13 convolutions")
    modules = _modules(depths[0], batch_norm)
    settings: dict[str, Any] = {"width": width}
    pooled = 1
    if "classifier.weight" in keys:
        owner, modules = "kuangliu's", [*modules, "classifier"]
    else:
        hidden, inputs = keys.shape("classifier.0.weight", 2)
        pooled = max(math.isqrt(inputs // (8 * width)), 1)  # another number is refused by its shape
        settings |= {"head": "dense", "pooled": pooled, "hidden": hidden}
        owner = "torchvision's" if pooled == 7 else "chenyaofo's"
        modules = [*modules, "classifier.0", "classifier.3", "classifier.6"]
    classes = keys.shape(f"{modules[-1]}.weight", 2)[0]
    name = f"vgg{depths[0]}{'_bn' if batch_norm else ''}"
    network = NETWORKS[name](classes=classes, **settings)
    scaling = IMAGENET if pooled == 7 else cifar(classes)
    size = 32 * pooled  # five pools
    return keys.known(owner, name, network, modules, (size, size, channels), scaling)


def _convolutions(keys: Keys) -> int:
    weights = [key for key in keys if key.startswith("features.") and key.endswith(".weight")]
    return sum(keys.weights.arrays[keys.prefix + key].ndim == 4 for key in weights)


def _modules(depth: int, batch_norm: bool) -> list[str]:
    """What convolutions and norms are called: places among them, activations and pools."""
    names, place = [], 0
    for count in CONVOLUTIONS[depth]:
        for _ in range(count):
            names.append(f"features.{place}")
            if batch_norm:
                names.append(f"features.{place + 1}")
            place += 3 if batch_norm else 2
        place += 1
    return names
