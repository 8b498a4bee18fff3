"""Residual networks by the keys of their checkpoints."""

import re
from typing import Any

from arraycnn.export.checkpoint_keys import IMAGENET, Keys, KnownCheckpoint, cifar
from arraycnn.networks import NETWORKS
from arraycnn.networks.imagenet_resnet import BLOCKS

_SMALL_DEPTHS = (8, 20, 32, 44, 56)


def known_resnet(keys: Keys) -> KnownCheckpoint:
    """The network of a file with ``conv1`` and ``layer1.0.conv1``: three stages, or four."""
    blocks = _blocks(keys)
    width, channels, kernel_size, _ = keys.shape("conv1.weight", 4)
    narrow = "layer1.0.conv3.weight" in keys
    last = "linear" if "linear.weight" in keys else "fc"
    classes = keys.shape(f"{last}.weight", 2)[0]
    around = next((w for w in ("downsample", "shortcut") if f"layer2.0.{w}.0.weight" in keys), "")
    name = _name(keys, blocks, narrow)
    settings: dict[str, Any] = {"classes": classes, "width": width}
    if len(blocks) == 3:
        settings |= {"torch_padding": True, "shortcut": "projection" if around else "zeros"}
        owner, scaling = (
            ("akamaster's", IMAGENET) if last == "linear" else ("chenyaofo's", cifar(classes))
        )
        size = 32
    elif kernel_size == 7:
        settings["stem"], owner, scaling, size = "7x7", "torchvision's", IMAGENET, 224
    else:
        settings["stem"], owner, scaling, size = "3x3", "kuangliu's", cifar(classes), 32
    if len(blocks) == 4:
        around = around or "downsample"  # which is then found to be missing
    modules = ["conv1", "bn1", *_modules(blocks, narrow, around), last]
    return keys.known(
        owner, name, NETWORKS[name](**settings), modules, (size, size, channels), scaling
    )


def _blocks(keys: Keys) -> tuple[int, ...]:
    """How many each stage has."""
    found: dict[int, int] = {}
    for key in keys:
        if match := re.match(r"layer(\d{1,3})\.(\d{1,3})\.", key):
            stage, block = map(int, match.groups())
            found[stage] = max(found.get(stage, 0), block + 1)
    return tuple(found.get(stage, 0) for stage in range(1, max(found) + 1))


def _name(keys: Keys, blocks: tuple[int, ...], narrow: bool) -> str:
    depths = [d for d, counts in BLOCKS.items() if counts == blocks and (d >= 50) == narrow]
    if not narrow:
        depths += [d for d in _SMALL_DEPTHS if blocks == (((d - 2) // 6),) * 3]
    if not depths:
        counts = ", ".join(map(str, blocks))
        has = f"stages of {counts} blocks with {3 if narrow else 2} convolutions each"
        keys.refuse_network(has, "ResNet-18, 34, 50, or 8, 20, 32, 44, 56 for small images")
    return f"resnet{depths[0]}"


def _modules(blocks: tuple[int, ...], narrow: bool, around: str) -> list[str]:
    """What convolutions and norms are called, block by block, the way around at the end."""
    names = []
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            place = f"layer{stage}.{block}"
            for number in range(1, 4 if narrow else 3):
                names += [f"{place}.conv{number}", f"{place}.bn{number}"]
            if around and block == 0 and (stage > 1 or narrow):
                names += [f"{place}.{around}.0", f"{place}.{around}.1"]
    return names
