"""Checkpoints that are known by their keys: torchvision's, and the usual ones for CIFAR.

torchvision
    resnet18, 34, 50 (``layer1.0.conv1``, ``layer2.0.downsample.0``, ``fc``); vgg11, 13, 16, each with
    batch norm or without (``features.0``, ``classifier.6``)
akamaster (github.com/akamaster/pytorch_resnet_cifar10)
    resnet20, 32, 44, 56 (``layer1.0.conv1``, ``linear``), shortcuts of zeros, without parameters
chenyaofo (github.com/chenyaofo/pytorch-cifar-models)
    the same four (``layer2.0.downsample.0``, ``fc``); VGG for images of 32 x 32 (``classifier.6``)
kuangliu (github.com/kuangliu/pytorch-cifar)
    resnet18, 34, 50 for images of 32 x 32 (``layer2.0.shortcut.0``, ``linear``); VGG (``classifier``)

Widths, classes and numbers of blocks are those of the arrays. Before all keys there may be ``module.``
or ``_orig_mod.``.
"""

from arraycnn.export.checkpoint_keys import KnownCheckpoint, keys_of
from arraycnn.export.known_resnets import known_resnet
from arraycnn.export.known_vggs import known_vgg
from arraycnn.export.weights_file import WeightsFile


def known_checkpoint(weights: WeightsFile) -> KnownCheckpoint | None:
    """What the file is by its keys, None where they are of no known kind.

    Raises
    ------
    CheckpointError
        The keys are of a known kind, and the network is none of those above; or an array is missing
        that tells its sizes.
    """
    keys = keys_of(weights)
    if "features.0.weight" in keys:
        return known_vgg(keys)
    if "conv1.weight" in keys and "layer1.0.conv1.weight" in keys:
        return known_resnet(keys)
    return None
